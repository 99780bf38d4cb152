"""The command line: the genuine program's flags, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract import StageError
from serving.servers.tfserving.__main__ import main
from serving.servers.tfserving.flags import FIXED, IGNORED, parse_flags

MODEL = "--model_base_path=/models/m"


def test_flags_have_the_genuine_defaults() -> None:
    flags = parse_flags([MODEL])
    assert (flags.port, flags.rest_api_port, flags.model_name) == (8500, 0, "default")
    assert (flags.max_num_load_retries, flags.load_retry_interval_micros) == (5, 60_000_000)
    assert flags.host == "127.0.0.1"


def test_flags_take_values_attached_apart_and_bare() -> None:
    flags = parse_flags([MODEL, "--port", "1234", "--enable_batching", "--enable_model_warmup=false"])
    assert (flags.port, flags.enable_batching, flags.enable_model_warmup) == (1234, True, False)


@pytest.mark.parametrize("name", IGNORED)
def test_flags_of_the_genuine_inside_are_accepted(name: str) -> None:
    assert parse_flags([MODEL, f"--{name}=1"]) == parse_flags([MODEL])


@pytest.mark.parametrize("name", FIXED)
def test_flags_that_would_change_answers_are_refused(name: str) -> None:
    assert parse_flags([MODEL, f"--{name}={FIXED[name]}"]) == parse_flags([MODEL])
    with pytest.raises(StageError, match=f"--{name}=true is not supported by the embedded server"):
        parse_flags([MODEL, f"--{name}=true"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "neither --model_base_path nor --model_config_file is given"),
        ([MODEL, "--frobnicate=1"], "unknown flag --frobnicate"),
        ([MODEL, "serve"], "unexpected argument 'serve'"),
        ([MODEL, "--port=many"], "--port=many must be a whole number"),
        ([MODEL, "--port"], "--port needs a value"),
        ([MODEL, "--port=0"], "--port and --grpc_socket_path are both unset"),
        ([MODEL, "--enable_batching=maybe"], "must be true or false"),
        ([MODEL, "--batching_parameters_file=/x"], "--batching_parameters_file needs --enable_batching"),
        ([MODEL, "--monitoring_config_file=/no/file"], "no file /no/file: correct --monitoring_config_file"),
        (["--model_base_path=models/m"], "must be an absolute path"),
    ],
)
def test_flags_refuse_by_name(arguments: list[str], message: str) -> None:
    with pytest.raises(StageError, match=message):
        parse_flags(arguments)


def test_main_prints_a_refusal_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([MODEL, "--frobnicate"]) == 2
    assert capsys.readouterr().err == "error: unknown flag --frobnicate: run with --help for those there are\n"


def test_main_help_lists_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--model_config_file_poll_wait_seconds=0" in capsys.readouterr().out


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    import socket

    from serving.process.sockets import bound_socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StageError, match=f"can't listen on 127.0.0.1:{port}"):
            bound_socket("127.0.0.1", port, shared=False)
