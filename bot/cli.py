"""The command line: runs commands, prints results as text or JSON, maps errors to exit codes.

Every command is defined here. Commands import their modules when they are called, so that
``--help`` and mistyped verbs answer fast.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from bot import exit_codes, logs
from bot.terminal import DEFAULT_DB
from engine.errors import Refused, StoreError, UsageError, VMFerryError, VmmError
from engine.language import grammar
from engine.language.vocabulary import OPTIONS, VERBS, Verb, example

if TYPE_CHECKING:
    from bot.terminal.reading import Installation
    from engine.model import Request
    from engine.settings import Settings
    from engine.stories.story import Played

Command = Callable[..., Any]

GLOBAL = ("--db", "--config")
"""Options that must come before the verb."""


class _Verbs(click.Group):
    """Command group that suggests the nearest verb for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of a verb. Raises a usage error that names the unknown word."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            near = grammar.nearest(args[0], known)
            hint = f"Did you mean {near}?" if near else f"There are: {', '.join(known)}."
            if args[0].casefold() in ("host", "vm"):
                hint = f"Did you mean: vmferry run {' '.join(args)}"
            raise click.UsageError(f'I do not know the verb "{args[0]}". {hint}', ctx)
        return super().resolve_command(ctx, args)


def _request_usage() -> str:
    verbs = [f"  {verb.usage:<22} {verb.about}" for verb in VERBS if verb.request]
    options = [f"  {option.word:<22} {option.about}" for option in OPTIONS]
    return "\n\n".join("\b\n" + "\n".join(part) for part in (["REQUEST:", *verbs], options))


@dataclass(frozen=True)
class _Where:
    """Paths of the settings and the database. They are opened only if the command needs them."""

    config: Path | None
    db: Path

    def settings(self) -> Settings:
        """Read the settings. Raises ``Refused``."""
        from engine.settings import load

        return load(self.config)

    def place(self) -> Installation:
        """Read the settings and return them with the database. Raises ``Refused``."""
        from bot.terminal.reading import Installation

        settings = self.settings()
        if not self.db.parent.is_dir():
            sentence = f"There is no folder {self.db.parent} for the database."
            hint = "Make it, or name another file with --db."
            raise Refused(sentence, what=str(self.db), hint=hint)
        return Installation(self.db, settings)


_where = click.make_pass_decorator(_Where)
_file = click.Path(path_type=Path, dir_okay=False)


def _pace(word: str) -> float:
    """Parse ``--speed``: the factor by which simulated time runs faster, or ``max`` (infinity)."""
    try:
        pace = math.inf if word == "max" else float(word)
    except ValueError:
        pace = 0.0
    if not pace > 0 or (math.isinf(pace) and word != "max"):
        raise click.BadParameter(f'"{word}" is neither a number above 0 nor max.')
    return pace


def _simulated(paces: str, times: str) -> Callable[[Command], Command]:
    """Add the options of commands that can run on a simulated fleet."""
    fleet = "Simulate the fleet that this file describes. Its state is kept beside the database."
    seed = "Use this random seed. Default: the fleet's own."

    def with_options(command: Command) -> Command:
        command = click.option("--seed", type=int, help=seed)(command)
        pace = click.option("--speed", type=_pace, metavar=paces, help=f"{times}. Default: 1.")
        return click.option("--fleet", type=_file, help=fleet)(pace(command))

    return with_options


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=_file,
    envvar="VMFERRY_CONFIG",
    help="Read settings from this TOML file. Default: settings.toml, if it exists.",
)
@click.option(
    "--db",
    type=_file,
    envvar="VMFERRY_DB",
    default=DEFAULT_DB,
    show_default=True,
    help="Keep the runs in this database.",
)
@click.version_option(package_name="vmferry", prog_name="vmferry")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, db: Path) -> None:
    """Move virtual machines between Hyper-V hosts, with their networks intact."""
    usual = Path("settings.toml")
    path = config if config is not None else usual if usual.exists() else None
    ctx.obj = _Where(path, db)


#: Words like "backup -1h" and "parallel -1" reach the grammar, which refuses them.
_OWN_WORDS = {"ignore_unknown_options": True, "help_option_names": ["--help"]}


@cli.command(context_settings=_OWN_WORDS, epilog=_request_usage(), options_metavar="[OPTIONS]")
@_simulated("N|max", "Simulate N times faster than real time; max: as fast as possible")
@click.option(
    "--approve",
    type=click.Choice(["ask", "yes", "no"]),
    default="ask",
    show_default=True,
    help="Approve moves of powered-down VMs, or not. Without a terminal, ask means no.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.argument("words", metavar="[REQUEST...]", nargs=-1, type=click.UNPROCESSED)
@_where
def run(
    where: _Where,
    fleet: Path | None,
    speed: float | None,
    seed: int | None,
    approve: Literal["ask", "yes", "no"],
    as_json: bool,
    words: tuple[str, ...],
) -> int:
    """Move VMs and show the progress. If an unfinished run has the same request, that run
    continues. Without a request, the only unfinished run continues."""
    from bot.terminal import running

    if "-h" in words:
        return _show_help("run")
    request = _request(words) if words else None
    wish = running.Wish(request, fleet, speed, seed, approve, as_json)
    code, document = running.run(where.place(), wish)
    if as_json and document:
        _print_json(document)
    return code


def _request(words: tuple[str, ...]) -> Request:
    options = [name for one in run.params for name in one.opts if name.startswith("--")]
    shown = " ".join(words)
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name = word.split("=", 1)[0]
            if name in GLOBAL:
                hint = f"Type: vmferry {name} FILE run ..."
                raise UsageError(f"{name} must come before the verb.", what=name, hint=hint)
            near = grammar.nearest(name, options)
            hint = f"Did you mean {near}?" if near else f"There are: {', '.join(options)}."
            sentence = f"There is no option {name}."
            raise UsageError(sentence, what=name, hint=hint, text=shown, at=shown.index(name))
    command = grammar.parse_words(words)
    if not isinstance(command, grammar.Ask):
        return command
    hint = f"Type: vmferry {shlex.join(words) if len(words) > 1 else shown}"
    sentence = f'"{command.verb}" is not a request.'
    raise UsageError(sentence, what=command.verb, hint=hint, text=shown, at=0)


@cli.command()
@click.argument("run", metavar="[RUN]", required=False)
@_where
def status(where: _Where, run: str | None) -> None:
    """Show what moves and why the rest waits. RUN is R12, 12, or a host that only one unfinished
    run uses. Default: all unfinished runs."""
    from bot.terminal import reading

    reading.show_status(where.place(), run)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet, a row per VM.")
@click.argument("run", metavar="RUN")
@_where
def report(where: _Where, run: str, as_json: bool, as_csv: bool) -> None:
    """Show the result for every VM of a run."""
    if as_json and as_csv:
        raise _not_together("--json", "--csv")
    from bot.terminal import reading, report_page
    from engine.views.report import spreadsheet

    document = reading.find_report(where.place(), run)
    if as_json:
        _print_json(document)
    elif as_csv:
        click.echo(spreadsheet(document["runs"][0]).encode("utf-8", "replace"), nl=False)
    else:
        click.echo("\n".join(report_page.page(document["runs"][0], document["approvals"])))


@cli.command()
@click.option("--seed", type=int, help="Play with this random seed. Default: the story's own.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line.")
@click.option("--update", is_flag=True, help="Write the result to expect.txt.")
@click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
def story(seed: int | None, as_json: bool, update: bool, folders: tuple[Path, ...]) -> int:
    """Play stories and compare each with its expect.txt."""
    from engine.stories.story import play

    if as_json and update:
        raise _not_together("--json", "--update")
    differing, unfinished = [], []
    for folder in folders:
        played = play(folder, seed)
        if not played.document["ended"] or played.document["violations"]:
            unfinished.append(folder)
        if as_json:
            _print_json(played.document)
        elif update:
            (folder / "expect.txt").write_text(played.text, encoding="utf-8", newline="\n")
            click.echo(f"{folder}: written")
        else:
            click.echo(played.text, nl=not played.text.endswith("\n"))
        if played.differs and seed is None and not update:  # another seed gives another result
            differing.append(folder)
            _print_difference(folder, played)
    for folder in differing:
        click.echo(
            f"{folder}: differs from expect.txt. If it should: story {folder} --update", err=True
        )
    for folder in unfinished:
        click.echo(f"{folder}: did not play to its end as it should.", err=True)
    return exit_codes.DIFFERS if differing else 1 if unfinished else 0


def _not_together(one: str, other: str) -> click.UsageError:
    words = f"{one} and {other} cannot be used together."
    return click.UsageError(words, click.get_current_context())


def _print_difference(folder: Path, played: Played) -> None:
    import difflib

    before, after = (played.expected or "").splitlines(), played.text.splitlines()
    names = (str(folder / "expect.txt"), "played")
    for line in difflib.unified_diff(before, after, *names, lineterm=""):
        click.echo(line, err=True)


@cli.command()
def demo() -> int:
    """Play one night of migrations in half a minute."""
    from bot.demo.night import main as play

    return play()


@cli.command()
@click.argument("file", type=click.Choice(["settings", "fleet", "story"]))
def schema(file: str) -> None:
    """Print the JSON Schema of a file format. Editors and other programs read it."""
    from engine.settings import Settings
    from engine.sim.fleet_file import FleetTable
    from engine.stories.story_file import StoryTable
    from engine.toml_tables import json_schema

    models: Mapping[str, Any] = {"settings": Settings, "fleet": FleetTable, "story": StoryTable}
    _print_json(json_schema(models[file]))


# --- beside a run -------------------------------------------------------------------------------


@cli.command("list")
@_where
def list_(where: _Where) -> None:
    """Show all runs, first those that need a person."""
    from bot.terminal import verbs

    verbs.list_runs(where.place())


@cli.command()
@click.option("--follow", is_flag=True, help="Wait for more until Ctrl-C, or the run's end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.argument("run", metavar="[RUN]", required=False)
@_where
def events(where: _Where, run: str | None, follow: bool, as_json: bool) -> None:
    """Show the audit, one event per line."""
    from bot.terminal import verbs

    verbs.show_events(where.place(), run, follow=follow, as_json=as_json)


@cli.command()
@_where
def approvals(where: _Where) -> None:
    """Show the open approvals."""
    from bot.terminal import verbs

    verbs.show_approvals(where.place())


#: Explanations of the words in a usage line.
_NAMED = {
    "RUN": "RUN is R12, 12, or a host that only one unfinished run uses.",
    "APPROVAL": "APPROVAL is A3 or 3. To see the open approvals: vmferry approvals",
}


def _changing(verb: Verb) -> click.Command:
    """Return the command of a verb that changes rows. Its words are the same as in Slack."""

    @_where
    def change(
        where: _Where, /, words: tuple[str, ...], reason: str | None = None, yes: bool = False
    ) -> int:
        from bot.terminal import verbs

        if "-h" in words:
            return _show_help(verb.name)
        return verbs.change(where.place(), verb, words, reason, sure=yes)

    context = _OWN_WORDS if verb.name == "set" else {}
    usage = verb.usage.removeprefix(verb.name).replace(" yes", "").replace(" [WHY]", "").strip()
    params: list[click.Parameter] = [click.Argument(["words"], nargs=-1, metavar=usage)]
    if "[WHY]" in verb.usage:
        params.append(
            click.Option(["--reason"], metavar="TEXT", help="Reason, which the audit keeps.")
        )
    if verb.name == "abort":
        params.append(click.Option(["--yes"], is_flag=True, help="Do not ask for confirmation."))
    about = f"{verb.about[:1].upper()}{verb.about[1:]}."
    named = " ".join(name for word, name in _NAMED.items() if word in usage.split())
    return click.Command(
        verb.name,
        callback=change,
        params=params,
        help=about,
        epilog=named or None,
        context_settings=context,
    )


for _verb in VERBS:
    if _verb.changes:
        cli.add_command(_changing(_verb))


@cli.group(cls=_Verbs)
def audit() -> None:
    """Check the audit."""


@audit.command()
@click.argument("mark", metavar="[MARK]", default="")
@_where
def verify(where: _Where, mark: str) -> int:
    """Check the whole chain of events. The chain shows events that were edited, deleted or moved.
    It does not show that events are missing at its end. To check that, pass a MARK that was
    published elsewhere, such as the "audit 7f3a91c2" of a report in Slack: the chain has to
    contain it."""
    from bot.terminal import verbs

    return verbs.verify(where.place(), mark.casefold())


# --- Slack --------------------------------------------------------------------------------------


@cli.command()
@_simulated("N", "Simulate N times faster than real time")
@_where
def serve(where: _Where, fleet: Path | None, speed: float | None, seed: int | None) -> int:
    """Run the Slack bot and the engine until SIGTERM or Ctrl-C. Before it starts, it
    lists everything that is missing in the settings or the workspace."""
    from bot.terminal.running import Wish
    from bot.terminal.serve import serve

    return serve(where.place(), Wish(None, fleet, speed, seed))


@cli.command()
@click.option("--http", metavar="URL", default="", help="Use HTTP mode with this public address.")
@_where
def manifest(where: _Where, http: str) -> None:
    """Print the manifest of the Slack app. Paste it into a new app. Without --http the manifest is
    for Socket Mode, which needs no public address."""
    from bot.slack.setup.manifest import manifest

    click.echo(manifest(where.settings().slack.command, http), nl=False)


# --- the VMM server -----------------------------------------------------------------------------


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def modules(folder: Path) -> None:
    """Write the PowerShell modules into FOLDER. Install them on servers only if the setting
    vmm.configuration names an endpoint."""
    from engine.vmm.powershell import write_modules

    try:
        written = write_modules(folder)
    except OSError as error:
        sentence = f"The modules cannot be written: {error.strerror or error}."
        raise Refused(sentence, what=str(folder), hint="Name another folder.") from None
    for path in written:
        click.echo(path)


# --- help ---------------------------------------------------------------------------------------


@cli.command("help")
@click.argument("words", metavar="[VERB]", nargs=-1)
def help_(words: tuple[str, ...]) -> int:
    """List all verbs, or show how to use one."""
    verbs = (word.casefold() for word in words)
    return _show_help(*("run" if verb in ("host", "vm") else verb for verb in verbs))


def _show_help(*words: str) -> int:
    return int(cli.main([*words, "--help"], "vmferry", standalone_mode=False))


#: How a command is typed, beside the examples of ``VERBS``.
_EXAMPLES = {
    "run": [example(verb.usage) for verb in VERBS if verb.request],
    "report": ["R2 --csv > R2.csv"],
    "events": ["R2 --follow"],
    "story": ["tests/stories/01_limit_is_never_exceeded"],
    "serve": ["--fleet fleet.toml"],
    "manifest": ["--http https://vmferry.corp.example > manifest.yml"],
    "modules": ["./modules"],
    "schema": ["settings > settings.schema.json"],
    "demo": [""],
    "audit": ["verify 7f3a91c2"],
}


def _show_examples() -> None:
    """Put examples at the end of each command's help."""
    usages = ((verb.name, verb.usage.replace(" yes", " --yes")) for verb in VERBS)
    typed = {n: [example(usage.replace("[WHY]", '--reason "[WHY]"'))] for n, usage in usages}
    for name, words in _EXAMPLES.items():
        typed.setdefault(name, []).extend(f"{name} {word}".strip() for word in words)
    for name, command in cli.commands.items():
        shown = ["Examples:" if len(typed[name]) > 1 else "Example:"]
        shown += [f"  vmferry {one}" for one in typed[name]]
        command.epilog = "\n\n".join(filter(None, [command.epilog, "\b\n" + "\n".join(shown)]))


_show_examples()


def _print_json(document: Mapping[str, Any]) -> None:
    click.echo(json.dumps(document, sort_keys=True, ensure_ascii=False))


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script: run the command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    logs.hide_library_warnings()
    try:
        code = cli.main(argv, prog_name="vmferry", standalone_mode=False)
    except click.ClickException as error:
        shown: click.ClickException = error
        if isinstance(error, click.NoSuchOption) and error.option_name in GLOBAL:
            name = error.option_name
            way = f"{name} must come before the verb: vmferry {name} FILE ..."
            shown = click.UsageError(way, error.ctx)
        shown.show()
        sys.exit(shown.exit_code)
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would change the exit code
        sys.exit(exit_codes.INTERRUPTED)
    except BrokenPipeError:  # the reader of the pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except VMFerryError as error:
        from bot.terminal.board import error_lines

        click.echo("\n".join(error_lines(error)), err=True)
        sys.exit(_exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)


def _exit_code(error: VMFerryError) -> int:
    if isinstance(error, Refused):
        return exit_codes.REFUSED
    if isinstance(error, VmmError):
        return exit_codes.UNREACHABLE
    return exit_codes.NO_STORE if isinstance(error, StoreError) else exit_codes.OTHERWISE


if __name__ == "__main__":
    main()
