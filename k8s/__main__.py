"""The cluster's commands: `python -m k8s images | render | deploy | status | loadtest | train | delete`, with `--help`.

KUBECONFIG names the cluster, OVERLAY (or --overlay) the way to deploy.
Nothing is ever done to a cluster that was not named.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from contract import StageError, shown
from k8s import build, cluster, deploy, loadtest, training


def images_command(arguments: argparse.Namespace) -> None:
    """Build the images (all, or those named) and print how long each took."""
    wanted = os.environ.get("BUILDER")
    if not wanted and os.environ.get("OVERLAY") == "ci":
        wanted = f"{cluster.choose('ci').tool} build"
    for reference, seconds in build.build_images(arguments.names, build.find_builder(wanted)):
        print(f"{reference}  {seconds:.0f} s")


def render_command(arguments: argparse.Namespace) -> None:
    """Print the overlay's manifests; needs no cluster."""
    folder = cluster.folder_of(arguments.overlay)
    subprocess.run((cluster.find_kubectl(), "kustomize", str(folder)), check=True)


def deploy_command(arguments: argparse.Namespace) -> None:
    """Apply the overlay and wait until every server is Ready."""
    chosen = cluster.choose(arguments.overlay)
    for name, seconds in deploy.deploy(chosen, arguments.overlay, arguments.timeout_s).items():
        print(f"{name}  Ready after {seconds:.0f} s")


def status_command(arguments: argparse.Namespace) -> None:
    """Show deployments, pods, autoscalers and disruption budgets."""
    print(deploy.status(cluster.choose(arguments.overlay)), end="")


def loadtest_command(arguments: argparse.Namespace) -> None:
    """Measure every server inside the cluster and copy the results out."""
    chosen = cluster.choose(arguments.overlay)
    choices = (arguments.profile, arguments.servers, arguments.timeout_s)
    folder, right = loadtest.run_loadtest(chosen, arguments.overlay, *choices)
    print(f"results: {shown(folder)}", file=sys.stderr)
    if not right:
        raise StageError(f"there were failures or wrong answers: see {shown(folder)}")


def train_command(arguments: argparse.Namespace) -> None:
    """Train the twins on several workers inside the cluster and copy the models out."""
    chosen = cluster.choose(arguments.overlay)
    manifests = training.train(chosen, arguments.overlay, arguments.frameworks, arguments.timeout_s)
    for framework, manifest in manifests.items():
        figures = "  ".join(f"{key} {value}" for key, value in training.figures(manifest).items())
        print(f"{framework}  {figures}  in {shown(training.MODELS_FROM_CLUSTER / framework)}")


def delete_command(arguments: argparse.Namespace) -> None:
    """Delete what `deploy` made."""
    print(deploy.delete(cluster.choose(arguments.overlay), arguments.overlay), end="")


COMMANDS = {
    "images": images_command,
    "render": render_command,
    "deploy": deploy_command,
    "status": status_command,
    "loadtest": loadtest_command,
    "train": train_command,
    "delete": delete_command,
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m k8s", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, run in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__)
        command.set_defaults(run=run)
        if name == "images":
            command.add_argument("names", nargs="*", help=f"default: {' '.join(build.list_images())}")
        else:
            command.add_argument("--overlay", default=os.environ.get("OVERLAY", "local"), help="default: %(default)s")
        if name in ("deploy", "loadtest", "train"):
            seconds = 300.0 if name == "deploy" else 1800.0
            command.add_argument("--timeout-s", type=float, default=seconds, help="default: %(default)s")
        if name == "train":
            command.add_argument("--frameworks", nargs="*", default=[], help="only these; default: both")
        if name == "loadtest":
            profile = os.environ.get("PROFILE", "smoke")
            command.add_argument("--profile", default=profile, help="smoke, quick or full; default: %(default)s")
            command.add_argument("--servers", nargs="*", default=[], help="only these; default: all")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a StageError is printed and gives 2."""
    arguments = parse(argv)
    try:
        arguments.run(arguments)
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
