"""The gRPC client against a real server that speaks TorchServe's two messages."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from detserve.bench.target import GrpcTarget
from detserve.client.grpc import MAX_MESSAGE, METHOD, aio_channel, channel, messages, predict, predict_async


class Model(grpc.GenericRpcHandler):
    """Answers by the picture: its size and the other fields, an error in the body, or none at all."""

    def service(self, call: grpc.HandlerCallDetails):
        assert call.method == METHOD
        return grpc.unary_unary_rpc_method_handler(
            self.predict,
            request_deserializer=messages()["PredictionsRequest"].FromString,
            response_serializer=messages()["PredictionResponse"].SerializeToString,
        )

    def predict(self, request, context: grpc.ServicerContext):
        if request.model_name == "busy":
            context.abort(grpc.StatusCode.INTERNAL, "Model fd1 has no worker.\nInternalServerException.()")
        if request.model_name != "fd1":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        data = request.input.pop("data")
        token = dict(context.invocation_metadata()).get("authorization", "")
        answer = f"{len(data)} {sorted(request.input.items())} {token}".encode()
        if data == b"bad":
            answer = b'{"code":400,"type":"bad_picture","message":"not a picture"}'
        return messages()["PredictionResponse"](prediction=answer)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadPoolExecutor(2) as pool:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE)]
        server = grpc.server(pool, handlers=[Model()], options=options)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait(10)


def test_a_picture_its_options_and_the_token_arrive(address: str) -> None:
    with channel(address) as open_channel:
        assert predict(open_channel, "fd1", b"x" * 12_000_000) == b"12000000 [] "
        answer = predict(open_channel, "fd1", b"abc", {"conf_threshold": "0.3"}, token="k")
    assert answer == b"3 [('conf_threshold', b'0.3')] Bearer k"


def test_the_same_from_asyncio(address: str) -> None:
    async def run() -> list[bytes]:
        async with aio_channel(address) as open_channel:
            return await asyncio.gather(*(predict_async(open_channel, "fd1", b"x" * n) for n in range(3)))

    assert asyncio.run(run()) == [b"0 [] ", b"1 [] ", b"2 [] "]


def test_the_messages_are_torchserves_on_the_wire() -> None:
    message = messages()["PredictionsRequest"](model_name="fd1", model_version="2", input={"data": b"\xff"})
    assert message.SerializeToString() == b"\x0a\x03fd1\x12\x012\x1a\x09\x0a\x04data\x12\x01\xff"
    assert messages()["PredictionResponse"].FromString(b"\x0a\x02[]").prediction == b"[]"


def test_every_outcome_of_a_hit_is_an_answer(address: str) -> None:
    async def statuses(target: GrpcTarget) -> list[str]:
        async with target.open() as attack:
            return [(await attack(picture)).status for picture in (b"good", b"bad")]

    assert asyncio.run(statuses(GrpcTarget(address, "fd1"))) == ["200", "400"]
    assert asyncio.run(statuses(GrpcTarget(address, "none"))) == ["NOT_FOUND", "NOT_FOUND"]
    assert asyncio.run(statuses(GrpcTarget(address, "busy"))) == ["503", "503"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        down = GrpcTarget(f"127.0.0.1:{probe.getsockname()[1]}", "fd1", timeout=2)
        assert asyncio.run(statuses(down)) == ["no connection"] * 2
