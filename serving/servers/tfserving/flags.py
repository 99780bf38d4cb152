"""The command line of `tensorflow_model_server`: every flag of version 2.20 with its type and default.

A flag that would change answers in a way this server can't follow is refused by name, as is an unknown one; one that
tunes the genuine program's inside is accepted and has no effect. `--host` and a few more are this server's own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from contract import StageError
from serving.process.cpus import available_cpus
from serving.process.sockets import check_pair


@dataclass(frozen=True)
class Flags:
    """What the flags say; those from `host` on are this server's own, most as the other servers have them."""

    port: int = 8500
    grpc_socket_path: str = ""
    rest_api_port: int = 0
    rest_api_timeout_in_ms: int = 30000
    rest_api_enable_cors_support: bool = False
    enable_batching: bool = False
    batching_parameters_file: str = ""
    allow_version_labels_for_unavailable_models: bool = False
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    model_name: str = "default"
    model_base_path: str = ""
    num_load_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    file_system_poll_wait_seconds: int = 1
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    ssl_config_file: str = ""
    saved_model_tags: str = "serve"
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    version: bool = False
    monitoring_config_file: str = ""
    enable_grpc_healthcheck_service: bool = False
    enable_serialization_as_tensor_content: bool = False
    host: str = "127.0.0.1"
    workers: int = 1
    grace_seconds: float = 0.2
    """After SIGTERM requests are still taken for so long, each answer closing its connection."""
    drain_seconds: float = 10.0
    """After SIGTERM the most seconds until the end."""
    max_body_bytes: int = 64 * 2**20
    header_timeout_seconds: float = 10.0
    silence_timeout_seconds: float = 30.0
    """How long a body or an answer on its way may stand still."""
    least_rate: float = 240.0
    """Bytes a second that it has to reach on the whole; 0: any."""
    idle_timeout_seconds: float = 300.0
    """Between two REST requests of a connection."""
    tls_cert: str = ""
    """Certificate chain (PEM): TLS on both ports, over gRPC unless --ssl_config_file says otherwise."""
    tls_key: str = ""
    token: str = field(default_factory=lambda: os.environ.get("SERVING_TOKEN", ""), repr=False)
    """Bearer token to demand, but of health checks."""
    access_log: bool = False
    """One JSON line per request to stdout."""


# Flags of the genuine program that concern its inside alone.
IGNORED = (
    "rest_api_num_threads", "num_unload_threads", "flush_filesystem_caches", "per_process_gpu_memory_fraction",
    "grpc_channel_arguments", "grpc_max_threads", "remove_unused_fields_from_bundle_metagraph", "num_tflite_pools",
    "num_tflite_interpreters_per_pool", "enable_profiler", "thread_pool_factory_config_file", "skip_initialize_tpu",
    "xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled",
)  # fmt: skip
# Flags that change what is served or answered, with the one value that this server can give them.
FIXED = {
    "use_alts_credentials": "false",
    "platform_config_file": "",
    "prefer_tflite_model": "false",
    "enable_signature_method_name_check": "false",
    "mixed_precision": "",
    "enable_per_model_batching_parameters": "false",
    "tensorflow_session_config_file": "",
}


_DEFAULTS = Flags()


def parse_flags(argv: Sequence[str]) -> Flags:
    """The flags of a command line; raises StageError naming what is wrong."""
    values: dict[str, Any] = {}
    types = {flag.name: type(getattr(_DEFAULTS, flag.name)) for flag in fields(Flags)}
    arguments = list(argv)
    while arguments:
        name, has_value, text = _split(arguments.pop(0))
        if name in IGNORED or name in FIXED:
            text = text if has_value else "true"
            if name in FIXED and text not in ("", FIXED[name]):
                raise StageError(f"--{name}={text} is not supported by the embedded server: leave the flag out")
            continue
        if name not in types:
            raise StageError(f"unknown flag --{name}: run with --help for those there are")
        if not has_value and types[name] is not bool:
            if not arguments:
                raise StageError(f"--{name} needs a value: --{name}=…")
            text = arguments.pop(0)
        values[name] = _value(name, types[name], text if has_value or types[name] is not bool else "true")
    flags = Flags(**values)
    _check(flags)
    return flags


def help_text() -> str:
    """All flags with their defaults."""
    rows = [f"  --{flag.name}={_shown(flag.name)}" for flag in fields(Flags)]
    ignored = "accepted without effect: " + ", ".join(f"--{name}" for name in IGNORED)
    return "\n".join(["flags and defaults:", *rows, ignored])


def session_threads(flags: Flags) -> tuple[int, int]:
    """Intra- and inter-op threads; 0 in a flag means one per processor that a worker may use."""
    both = flags.tensorflow_session_parallelism
    share = max(1, available_cpus() // flags.workers)
    intra = flags.tensorflow_intra_op_parallelism or both or share
    inter = flags.tensorflow_inter_op_parallelism or both or share
    return intra, inter


def _split(argument: str) -> tuple[str, bool, str]:
    """Name, whether a value is attached, and the value."""
    if not argument.startswith("-"):
        raise StageError(f"unexpected argument {argument!r}: flags are --name=value")
    name, equals, text = argument.lstrip("-").partition("=")
    return name, bool(equals), text


def _value(name: str, wanted: type, text: str) -> Any:
    if wanted is bool:
        if text.lower() not in ("true", "false"):
            raise StageError(f"--{name}={text} must be true or false")
        return text.lower() == "true"
    if wanted in (int, float):
        try:
            return wanted(text)
        except ValueError:
            raise StageError(f"--{name}={text} must be a {'whole ' * (wanted is int)}number") from None
    return text


def _shown(name: str) -> str:
    """A default; a token in the environment is nobody's business."""
    return "(variable SERVING_TOKEN)" if name == "token" else str(getattr(_DEFAULTS, name)).lower()


def _check(flags: Flags) -> None:
    if flags.version:
        return
    if flags.workers < 1 or (flags.workers > 1 and flags.grpc_socket_path):
        raise StageError(f"--workers={flags.workers} must be at least 1, and 1 with --grpc_socket_path")
    if not flags.port and not flags.grpc_socket_path:
        raise StageError("--port and --grpc_socket_path are both unset: give one of them")
    if not flags.model_base_path and not flags.model_config_file:
        raise StageError("neither --model_base_path nor --model_config_file is given: say what to serve")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise StageError("--batching_parameters_file needs --enable_batching: add it")
    for name in ("batching_parameters_file", "monitoring_config_file", "model_config_file", "ssl_config_file"):
        path = getattr(flags, name)
        if path and not Path(path).is_file():
            raise StageError(f"no file {path}: correct --{name}")
    certificate, key = (Path(path) if path else None for path in (flags.tls_cert, flags.tls_key))
    check_pair(certificate, key, ("--tls_cert", "--tls_key"))
    if flags.model_base_path and not Path(flags.model_base_path).is_absolute():
        raise StageError(f"--model_base_path={flags.model_base_path} must be an absolute path")
