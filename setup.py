"""What pyproject.toml cannot say: config/ and handlers/ lie beside the package here, and inside it once installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["detserve", "detserve.*"]), "detserve.config", "detserve.handlers"],
    package_dir={"detserve.config": "config", "detserve.handlers": "handlers"},
    package_data={"detserve.config": ["*"]},
)
