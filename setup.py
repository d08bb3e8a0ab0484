"""What pyproject.toml cannot say: config/ and handlers/ lie beside the package here, and inside it once installed."""

import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class FreshBuild(build_py):
    """A build without what an earlier one left in build/: archives take every module of a room that they find."""

    def run(self):
        """Build from nothing."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(
    packages=[*find_packages(include=["detserve", "detserve.*"]), "detserve.config", "detserve.handlers"],
    package_dir={"detserve.config": "config", "detserve.handlers": "handlers"},
    package_data={
        "detserve.config": ["*"],
        "detserve": ["py.typed"],
        "detserve.demo": ["static/*"],
        "detserve.pack.exits": ["*.jpg"],
    },
    cmdclass={"build_py": FreshBuild},
)
