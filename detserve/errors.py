"""The tree of errors.

::

    DetserveError
    ├── RequestError            one request; answered with a status of its own
    │   ├── BadRequest          400  a JSON body of no known form
    │   ├── BadPicture          400  not a picture, broken, or cut short
    │   ├── PictureTooLarge     413  more pixels than the server decodes
    │   ├── TooManyPictures     413  more pictures than one request may hold
    │   ├── AnswerTooLarge      413  more bytes of answer than the server hands on: masks of very many objects
    │   ├── UnsupportedFormat   415  a picture, but of a format that is not served
    │   ├── UnfitDepth          422  a depth map that is missing, not asked for, or of another size than its picture
    │   ├── InvalidOption       422  an option that is no number or out of range
    │   └── InternalError       500  not the caller's fault: the server failed on the picture, its log says why
    └── SetupError              a fault of the operator's files or machine; ends a command with exit status 1
        ├── BadSpec             a model's description that does not hold together
        ├── BadWeights          a weight file that does not fit the network, or is not what it should be
        ├── BackendMissing      a backend that this machine lacks a package or a device for
        ├── EngineRejected      an engine that disagrees with the network that it was made from
        ├── BadArchive          a .mar file that cannot be read or written, or was not made by detserve
        └── ServerFailed        TorchServe did not start, or a model's workers did not become ready

A message says what is wrong and what to do next, on one line.
"""

from typing import ClassVar, Self


class DetserveError(Exception):
    """The root of all errors that detserve raises on purpose."""


class RequestError(DetserveError):
    """A fault of one request. It never touches the other requests of its batch."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "bad_request"

    def without_traceback(self) -> Self:
        """The error without its traceback and causes, to be kept as a result.

        A traceback refers to the frames that hold the bodies of the batch, and these refer to the results. Only the
        rarest run of the garbage collector would free those megabytes.
        """
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)


class BadRequest(RequestError):
    """The body is JSON, or begins like it, but has none of the forms that are served."""


class BadPicture(RequestError):
    """The bytes are no picture, or a broken one."""

    status = 400
    type = "bad_picture"


class PictureTooLarge(RequestError):
    """The header declares more pixels than the server decodes."""

    status = 413
    type = "picture_too_large"


class TooManyPictures(RequestError):
    """One request holds more pictures than are answered at once."""

    status = 413
    type = "too_many_pictures"


class AnswerTooLarge(RequestError):
    """The answer has more bytes than TorchServe hands on."""

    status = 413
    type = "answer_too_large"


class UnsupportedFormat(RequestError):
    """The bytes are a picture of a format, or of a kind of pixel, that is not served."""

    status = 415
    type = "unsupported_format"


class UnfitDepth(RequestError):
    """A depth map that is missing, not asked for, or of another size than its picture."""

    status = 422
    type = "unfit_depth"


class InvalidOption(RequestError):
    """An option of the request is not a number or lies outside its range."""

    status = 422
    type = "invalid_option"


class InternalError(RequestError):
    """The server failed on this request."""

    status = 500
    type = "internal_error"


class SetupError(DetserveError):
    """A fault in what the operator provides: files, packages, machine, ports."""


class BadSpec(SetupError):
    """A model's description does not hold together."""


class BadWeights(SetupError):
    """A weight file does not fit its network, is damaged, or is not the file that was asked for."""


class BackendMissing(SetupError):
    """A backend lacks a package or a device on this machine."""


class EngineRejected(SetupError):
    """A built engine disagrees with the network that it was made from."""


class BadArchive(SetupError):
    """A .mar file cannot be read or written, or was not made by detserve."""


class ServerFailed(SetupError):
    """TorchServe did not start, or the workers of a model did not become ready."""
