"""Exit codes of the command line. They are part of the public contract."""

DONE = 0  # every move is done, or skipped for a reason that leaves nothing to do
OTHERWISE = 1  # a move ended otherwise, or an unexpected error
REFUSED = 2  # nothing was changed
UNREACHABLE = 3  # VMM cannot be reached
NO_STORE = 4  # the database is in use, newer or damaged
DIFFERS = 5  # a story differs from its expectation, or the audit from what was written
INTERRUPTED = 130  # Ctrl-C
