"""The engine: plans and carries out moves, repairs networks, keeps rows. Independent of Slack."""
