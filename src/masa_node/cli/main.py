"""`masa-node`: the commands."""

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, TextIO, cast

import msgspec
import typer

from masa_node.chat.errors import ConfigurationError, MasaError, ProviderError
from masa_node.cli import console, devnet, keys
from masa_node.cli.output import Group, Json, open_standard_streams, print_json, print_nowhere
from masa_node.cli.peers import commands as peer_commands
from masa_node.cli.stake import commands as stake_commands
from masa_node.cli.usage import register as register_usage
from masa_node.node.libraries import check_libraries
from masa_node.node.proxies import read_proxies
from masa_node.node.settings.docs import SettingDoc, setting_docs
from masa_node.node.settings.environment import LogLevel, Settings, read_settings, shown_value, unknown_settings
from masa_node.node.settings.words import listed
from masa_node.node.signals import ended_at_once
from masa_node.upstreams.http.proxies import NO_PROXIES
from masa_node.version import __version__

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells do

app = typer.Typer(
    name="masa-node",
    help="One HTTP endpoint for any LLM. Settings come from the environment and .env; see `masa-node settings`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One HTTP endpoint for any LLM. Settings come from the environment and .env; see `masa-node settings`."""
    del version


@app.command(rich_help_panel=Group.RUN)
def up(
    llm: Annotated[
        bool,
        typer.Option("--llm", help="Serve a small LLM, too: SmolLM2, unless LLM names another (extra `llm`)."),
    ] = False,
    *,
    json: Json = False,
) -> None:
    """Run the node in front of your LLM servers. `PORT=9000 masa-node up` sets a setting, here the port."""
    with ended_at_once():
        from masa_node.cli.embedded import fetch_what_is_needed, with_an_llm  # noqa: PLC0415 - as in `_run`

    values = read_settings()
    values = with_an_llm(values) if llm else values
    fetch_what_is_needed(values)
    _run(values, json=json)


@app.command(rich_help_panel=Group.RUN)
def demo(*, json: Json = False) -> None:
    """Run three nodes on this machine and watch their races: no LLM server and no settings are needed.

    Two share a small real LLM (extra `llm`; fetched once, 93 MB) or, where that cannot be had, an echo.
    """
    check_libraries()
    with ended_at_once():
        from masa_node.cli.demo import DemoForPeople, DemoForPrograms, StderrInForce  # noqa: PLC0415 - as in `_run`
        from masa_node.cli.embedded import llm_of_demo  # noqa: PLC0415
        from masa_node.devnet.demo import run_demo  # noqa: PLC0415
        from masa_node.telemetry import log  # noqa: PLC0415

    values = read_settings()
    llm = llm_of_demo(values)
    quiet: LogLevel = "error" if values.log_level == "info" else values.log_level  # the races tell the rest
    log.configure(quiet, values.log_format, cast("TextIO", StderrInForce()))
    _tell_of_unknown_names(values)
    with contextlib.ExitStack() as stack:
        listener = DemoForPrograms() if json else DemoForPeople(stack)
        _run_loop(run_demo(values, llm, listener, listener.ready))


@app.command(rich_help_panel=Group.RUN)
def relay(
    host: Annotated[str, typer.Argument(help="Its public name. Unset: plain HTTP, for a LAN or a trial.")] = "",
    *,
    email: Annotated[str, typer.Option(help="Where Let's Encrypt writes to; it makes the certificate.")] = "",
    cert: Annotated[Path | None, typer.Option(help="A certificate of your own, from a public authority.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
) -> None:
    """Run a relay for nodes behind NAT: an installed `iroh-relay`, with a sound configuration. See docs/relay.md.

    With RELAY_TOKEN set, only nodes that have the same are served.
    """
    from masa_node.cli.relay import WantedRelay, start  # noqa: PLC0415 - as in `_run`

    values = read_settings()
    start(WantedRelay(host, email, cert, key, values.relay_token), Path(values.masa_dir).expanduser() / "relay")


@app.command(rich_help_panel=Group.LOOK)
def models(
    url: Annotated[str, typer.Option(help="Address of the node. Unset: this machine, at PORT.")] = "",
    *,
    json: Json = False,
) -> None:
    """List what can be asked of the running node."""
    from masa_node.cli.models import fetch_models, fetch_models_unproven, print_models  # noqa: PLC0415 - the other commands need no client
    from masa_node.cli.peers.actions import url_of_running_node  # noqa: PLC0415

    values = read_settings()
    proxies = read_proxies(values) if url else NO_PROXIES  # the own node is reached straight
    url = url or asyncio.run(url_of_running_node(Path(values.masa_dir).expanduser()))
    keys, usual = listed(values.api_key), f"http://127.0.0.1:{values.port}"
    fetching = fetch_models(url, keys, proxies) if url else fetch_models_unproven(usual, has_keys=bool(keys))
    answer, why_empty = asyncio.run(fetching)
    if json:
        print_json(msgspec.Raw(answer))
    else:
        print_models(answer, why_empty)


@app.command(rich_help_panel=Group.LOOK)
def doctor(*, json: Json = False) -> None:
    """Look for what is wrong: settings, folder, LLM servers, clock, router, relay, peers. Each line says what to do.

    Each LLM server of your own is asked for one token. Exit code 1 if anything failed.
    """
    from masa_node.cli.doctor import diagnose, print_report  # noqa: PLC0415 - as above
    from masa_node.telemetry import log  # noqa: PLC0415

    log.configure("error", "auto")  # what is logged is in the report
    report = asyncio.run(diagnose())
    print_json(report) if json else print_report(report)
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


@app.command(rich_help_panel=Group.LOOK)
def settings(*, json: Json = False) -> None:
    """Show every setting, what it is for and its value now (secrets are not shown)."""
    values = read_settings()
    rows = [
        {
            "name": doc.name,
            "value": _printed(values, doc),
            "default": doc.default,
            "about": doc.about,
        }
        for doc in setting_docs()
    ]
    if json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['name']}={row['value']}\n    {row['about']}")


peer_commands.register(app)
stake_commands.register(app)
register_usage(app)
devnet.register(app)
keys.register(app)
console.register(app)


@app.command(rich_help_panel=Group.LOOK)
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """What `__main__.main` runs. Exit codes: 0 fine, 1 failed, 2 a setting or an argument is wrong, 130 interrupted."""
    open_standard_streams()
    try:
        _command()
    except BrokenPipeError:  # end as quietly as any other command does
        print_nowhere()
        sys.exit(EXIT_FAILED)
    except ConfigurationError as exc:
        print(f"masa-node: {exc.message}", file=sys.stderr)
        sys.exit(EXIT_CONFIGURATION)
    except MasaError as exc:
        location = f"{exc.location}: " if isinstance(exc, ProviderError) and exc.location else ""
        print(f"masa-node: {location}{exc.message}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except OSError as exc:  # of a full disk behind stdout, for one
        print(f"masa-node: {exc.filename or 'what it prints'}: {exc.strerror or exc}", file=sys.stderr)
        sys.exit(EXIT_FAILED)


def _command() -> None:
    """The command that the arguments name. Of a group of errors, the first is reported."""
    try:
        try:
            app(prog_name="masa-node")
        finally:
            sys.stdout.flush()  # not at the interpreter's end, where nobody could say anything about it any more
    except BaseExceptionGroup as several:
        error = _first_of(several)
        if isinstance(error, OSError | MasaError | KeyboardInterrupt):
            raise error from None
        raise


def _first_of(error: object) -> object:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _run(values: Settings, *, json: bool) -> None:
    check_libraries()
    with ended_at_once():
        from masa_node.cli.banner import BannerForPeople, BannerForPrograms  # noqa: PLC0415 - the other commands need none of the server
        from masa_node.cli.troubles import tell_of_troubles  # noqa: PLC0415
        from masa_node.node.run import run  # noqa: PLC0415
        from masa_node.telemetry import log  # noqa: PLC0415

    log.configure(values.log_level, values.log_format)
    _tell_of_unknown_names(values)
    if json:
        _run_loop(run(values, BannerForPrograms()))
    else:
        _run_loop(run(values, BannerForPeople(), tell_of_troubles))


def _tell_of_unknown_names(values: Settings) -> None:
    """A misspelt setting would be ignored in silence; foreign variables are nobody's business."""
    import structlog  # noqa: PLC0415 - as in `_run`

    from masa_node.node.settings.config_file import key_variables  # noqa: PLC0415

    log = structlog.get_logger()
    for unknown in unknown_settings(used=key_variables(values)):
        meant = f"did you mean {unknown.nearest}?" if unknown.nearest else "`masa-node settings` lists all"
        log.warning("unknown setting", name=unknown.name, location=unknown.location, hint=meant)


def _run_loop(main: Coroutine[None, None, None]) -> None:
    try:
        with ended_at_once():
            import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def _printed(values: Settings, doc: SettingDoc) -> str:
    """As it may stand in `.env`."""
    value = shown_value(doc.name.lower(), getattr(values, doc.name.lower()))
    return str(value).lower() if isinstance(value, bool) else str(value)
