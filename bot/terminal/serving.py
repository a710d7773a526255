"""The verbs of the Slack bot: ``manifest`` describes the app."""

from __future__ import annotations

from collections.abc import Callable

import click

from bot.slack.manifest import manifest
from engine.settings import Settings


def register(group: click.Group, settings_of: Callable[[click.Context], Settings]) -> None:
    """Add these verbs to the command line."""

    @group.command(name="manifest")
    @click.option("--http", metavar="URL", default="", help="For HTTP mode: the public address.")
    @click.pass_context
    def _manifest(ctx: click.Context, http: str) -> None:
        """Print the Slack app's manifest, to paste into a new app.

        Without --http it is for Socket Mode, which needs no public address.
        """
        click.echo(manifest(settings_of(ctx).slack.command, http), nl=False)
