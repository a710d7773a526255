"""An empty Bolt app with Bolt's own socket, as in its tutorial, to compare VMFerry with."""

from __future__ import annotations

import os
import re
import threading

from slack_bolt import Ack, App
from slack_bolt.adapter.socket_mode.builtin import SocketModeHandler
from slack_sdk import WebClient

if __name__ == "__main__":
    said = {name: os.environ[f"VMFERRY_SLACK__{name}"] for name in ("BOT_TOKEN", "APP_TOKEN")}
    client = WebClient(said["BOT_TOKEN"], base_url=os.environ["VMFERRY_SLACK__API_URL"])
    app = App(client=client)

    @app.action(re.compile(".*", re.DOTALL))
    def click(ack: Ack) -> None:
        """Ack and do nothing else."""
        ack()

    SocketModeHandler(app, said["APP_TOKEN"]).connect()
    threading.Event().wait()
