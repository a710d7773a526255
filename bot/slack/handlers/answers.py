"""What one person is told: refusals of requests and clicks, status, help. Pure, plain words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from bot.slack.handlers.confirmations import DraftState
from bot.slack.kit.blocks import TEXT, date, escape, fit, fit_lines
from bot.slack.messages.board import (
    ENDS,
    STATE,
    badly_ended,
    board_view,
    count,
    nobody,
    route,
    several,
    urgent_first,
)
from bot.slack.outbox.watched_runs import Watched
from bot.slack.people.approvers import Deciders, bare, calls, mention, mentions, slack_id
from bot.slack.people.mentions import SPOKEN, acted, named, reported, typed
from engine.commands.service import Decision
from engine.errors import Refused, UsageError
from engine.language.vocabulary import OPTIONS, VERBS
from engine.model import Approval, ApprovalState, Event, Run
from engine.views.board import Board

NOTHING = "Nothing changed."
NOT_STARTED = "Nothing started."
_NOTHING_SAID = re.compile(r"\bNothing (was |has )?(asked|changed|started)\b|\bchanges nothing\b")
TOO_LATE = frozenset({"expired_trigger_id", "exchanged_trigger_id"})


def usage(error: UsageError, command: str) -> str:
    """Which word is wrong, what was typed, and what to type instead."""
    shown = f"\n```{escape(_pointer(error))}```" if error.at >= 0 and error.text else ""
    return fit(refused(error, command), 2_000) + shown


def refused(error: Refused, command: str, nothing: str = NOT_STARTED) -> str:
    """What is wrong, that nothing happened (``nothing``; empty: of a look), what to do last."""
    if not nothing or _NOTHING_SAID.search(f"{error}"):
        return typed(escape(f"{error}"), command)
    return typed(escape(f"{error.sentence} {nothing} {error.hint}".strip()), command)


def _pointer(error: UsageError) -> str:
    """The text with a caret under the wrong word, cut so that the caret stays in sight."""
    start = max(0, error.at - 60)
    shown = error.text[start : start + 120].replace("\n", " ").replace("`", "'")
    return f"{shown}\n{' ' * (error.at - start)}{'^' * max(1, min(len(error.what), 60))}"


def attached(run: Run, link: str = "") -> str:
    """The same request is on its way already; ``link``: to its board."""
    asked = f"asked by {mention(run.by)} {date(run.created)}"
    see = f"; see {link}" if link else ""
    return f"{run.label} does this already ({asked}){see}. {NOT_STARTED}"


def too_long(longest: int) -> str:
    """More than anybody types."""
    return f"That is longer than {longest} characters. {NOT_STARTED}"


def no_run_here(command: str) -> str:
    """A shortcut on a message that is none of ours."""
    return f"This message belongs to no run. Choose one of mine, or type: {command} status"


def on_the_card(links: Sequence[str], command: str) -> str:
    """A decision that was said in a thread."""
    if not links:
        return f"Nothing waits for a yes or no here. {NOTHING} For all: {command} approvals"
    return f"That is decided on {', '.join(links)}. {NOTHING}"


def sure_to_stop(run: Run) -> str:
    """Asked before a run is stopped by a word in a thread."""
    return f"Stop {run.label} ({route(run)})? Nothing more is started; what is on its way goes on."


def sure_to_abort(run: Run) -> str:
    """Asked before a run is aborted by a word in a thread."""
    stay = "What is on its way is stopped, too; those VMs stay where they were."
    return f"Abort {run.label} ({route(run)})? {stay}"


def as_typed(text: str, command: str) -> str:
    """What somebody typed, within a sentence."""
    return "`" + escape(fit(f"{command} {text}", 300).replace("`", "'")) + "`"


def started(run: Run) -> str:
    """Said in the place of a preview whose Start was clicked."""
    return f"{run.label} starts; its board comes in the channel."


def carried_out_now() -> str:
    """Said in the place of a question whose yes came to something that is shown elsewhere."""
    return "Done."


def dropped() -> str:
    """Said in the place of a question that was answered with no."""
    return f"Dropped. {NOTHING}"


def not_your_question(by: str) -> str:
    """Somebody else's preview: only who asked says yes to it."""
    return f"Only {mention(by)}, who asked, can answer this. {NOTHING}"


def answered_before(state: DraftState, run: Run | None, link: str = "") -> str:
    """A second click on a question that has its answer; ``link``: to the board of its run."""
    match state:
        case DraftState.REPLACED:
            return f"There is a newer version of this question. {NOTHING} Use that one."
        case DraftState.DROPPED:
            return f"You dropped this before. {NOTHING} Type it again if you want it after all."
    see = f"; see {link}" if link else ""
    told = f"This was started before, as {run.label}{see}." if run else "This was done before."
    return f"{told} {NOTHING}"


def preview_is_old() -> str:
    """Why a preview is shown again."""
    return "That preview was more than 15 min old; this is how it stands now."


def preview_differs() -> str:
    """Why a preview is shown again."""
    return "The VMs are not those of that preview any more; this is how it stands now."


def started_without_deciders(run: Run, deciders: Deciders) -> str:
    """Said to the requester at once, so that nobody waits all night for an impossible click."""
    others = deciders.stand_ins(run)
    instead = f" I will ask {mentions(others)} instead." if others else ""
    return (
        f"{run.label} starts, but {nobody(run, deciders)}. "
        f"VMs that are powered down will wait; running VMs move.{instead}"
    )


def not_here(channels: Sequence[str], nothing: str = NOT_STARTED) -> str:
    """The channel is not one where the bot works."""
    places = ", ".join(f"<#{channel}>" for channel in channels)
    return f"I work only in {places}. {nothing}"


def _places(channels: Sequence[str]) -> str:
    """Where it can be said instead."""
    if not channels:
        return "Type it in a channel where I am; /invite @vmferry brings me into one."
    return f"Type it in {', '.join(f'<#{channel}>' for channel in channels)}."


def not_in_private(channels: Sequence[str], nothing: str) -> str:
    """What is said to the bot alone: a run belongs where others see it."""
    why = "Here nobody else would see it, so I only look, pause, stop and decide."
    return f"{why} {nothing} {_places(channels)}"


def shared_channel(channels: Sequence[str], nothing: str) -> str:
    """People of another organisation read here."""
    why = "This channel is shared with another organisation, and VM names are customers' names."
    return f"{why} {nothing} {_places(channels)}"


def unseen_channel(nothing: str) -> str:
    """A private channel without the bot."""
    invite = "Type here: /invite @vmferry, then ask again."
    return f"I cannot see this channel, so I could post nothing here. {nothing} {invite}"


def not_a_member(unfit: str, nothing: str) -> str:
    """A guest, a bot, somebody who left or who is from elsewhere."""
    is_so = f"Slack says that you are {unfit}."
    return f"Only full members of this workspace may do this. {is_so} {nothing} Ask one of them."


def cannot_check(what: str, error: str, nothing: str) -> str:
    """Slack does not say what has to be known first."""
    if error in ("", "no answer"):
        return f"I cannot check {what}: Slack did not answer. {nothing} Try again in a minute."
    fix = "Look at the setting slack.starters."
    if error == "missing_scope":
        fix = "The app lacks a scope of manifest.yml: add it and install the app again."
    return f"I cannot check {what}: Slack says {escape(error)}. {nothing} {fix}"


def not_a_starter(starters: Sequence[str], verb: str = "") -> str:
    """The person may look, pause and stop, but not start; and not say this verb."""
    groups = [name for name in starters if name.startswith("S")]
    people = [name for name in starters if name not in groups]
    able = f"these people may: {', '.join(filter(None, [mentions(people), calls(groups)]))}."
    if not verb:
        return f"You may not start moves; {able} {NOT_STARTED}"
    return f"You may not say {verb}; {able} Everybody may pause and stop. {NOTHING}"


def not_posted(run: Run, channel: str, error: str) -> str:
    """The board could not be posted, so the run does not start."""
    invite = "Type there: /invite @vmferry, then ask again."
    why = {
        "is_archived": f"<#{channel}> is archived. Ask again in another channel.",
        "not_in_channel": f"I am not in <#{channel}>. {invite}",
        "channel_not_found": f"I cannot see <#{channel}>. {invite}",
    }
    reason = why.get(error, f"Slack refused the message ({escape(error)}).")
    return f"{run.label} was rejected: {reason} {NOT_STARTED}"


def told_elsewhere(run: Run, watched: Watched, place: str) -> str:
    """For the audit, which knows no mentions."""
    gone = f"{watched.channel} ({watched.lost})"
    return f"{run.label} is told about in {place} from now on, and no longer in {gone}"


def unknown_button(command: str) -> str:
    """A button that this version does not have, or one with a value that we did not make."""
    return f"This button is from another version of VMFerry. {NOTHING} Type: {command} status"


def failed_inside(inbox: int, command: str) -> str:
    """Our own fault."""
    return (
        f"Something went wrong inside VMFerry (inbox {inbox} in its log). "
        f"Look with {command} status before you type it again."
    )


def form_not_opened(code: str) -> str:
    """A form that Slack did not open."""
    late = code in TOO_LATE
    again = "Click again." if late else "Click again, or type it: approve, deny or withdraw."
    return f"The form did not open{' in time' if late else ''} ({escape(code)}). {NOTHING} {again}"


def not_saved() -> str:
    """The row could not be written, so nothing was promised."""
    return (
        f"I could not write this down, so I do not do it. {NOT_STARTED} Type it again in a minute."
    )


def decision(answer: Decision, by: str, clicked: float, deciders: Deciders, command: str) -> str:
    """The truthful sentence for a click; empty where the card itself says it."""
    if answer.accepted:
        return ""
    run = answer.run.label if answer.run else "this run"
    able = mentions(_able(answer.run, deciders))
    match answer.code:
        case "already":
            return f"{_earlier(answer, by, clicked)} {NOTHING}"
        case "own_run":
            others = f"These people may: {able}." if able else "Nobody else may decide at present."
            asked = answer.run is None or answer.run.by == by
            why = f"You asked for {run}" if asked else f"You had {run} go on"
            return f"{why}, so you cannot decide on it. {others} {NOTHING}"
        case "not_a_decider":
            return f"{_not_they(by, able, deciders)} Your click is recorded. {NOTHING}"
        case "stale":
            return f"This card is older than the question. {NOTHING} Use the newest card."
        case "expired":
            return f"This question is closed: nobody decided in time. {NOTHING}"
        case "started":
            return f"A VM of it has been started since, so the yes stands. {NOTHING}"
        case "withdrawn":
            return f"This question was withdrawn. {NOTHING}"
        case "no_break_glass" | "unfit" | "may_decide" | "others_may" | "no_reason":
            return f"{_unbroken(answer.code, able)} {NOTHING}"
    return f"I do not know this question any more. {NOTHING} Type: {command} status"


def _able(run: Run | None, deciders: Deciders) -> tuple[str, ...]:
    """Those who may decide on it; of the escalation only where nobody else may."""
    return deciders.eligible(run) or (deciders.stand_ins(run) if run is not None else ())


def _unbroken(code: str, able: str) -> str:
    """Why the glass is not broken."""
    match code:
        case "no_break_glass":
            return (
                "Breaking the glass is not allowed to you here (settings slack.break_glass and "
                "slack.starters)."
            )
        case "unfit":
            return "Guests, bots and people from elsewhere never break the glass."
        case "may_decide":
            return "You may decide: click Approve instead."
        case "no_reason":
            return "The reason is too short."
    return f"Somebody who may decide is there: {able or 'those of the escalation'}."


def _not_they(by: str, able: str, deciders: Deciders) -> str:
    """Why this person may not decide, and who may."""
    user = slack_id(by)
    if user in deciders.unfit and user in deciders.everybody:
        others = f"These people may: {able}." if able else "Nobody else may at present."
        return f"You may not decide: guests, bots and people from elsewhere never do. {others}"
    if deciders.groups:
        return f"You are not on call now ({f'{able} may decide' if able else 'nobody else may'})."
    return f"You may not decide on this ({f'{able} may' if able else 'nobody is listed'})."


def unsure(error: str, by: str, deciders: Deciders) -> str:
    """Slack did not say whether this person may decide, so nothing was decided."""
    listed = (slack_id(by) or "") in [bare(user) for user in deciders.listed]
    what = "whether you may decide" if listed else "who is on call"
    if error in ("", "no answer"):
        again = "Try again in a minute; the card stays open."
        return f"I cannot check {what}: Slack did not answer. {again}"
    fix = (
        "The app lacks a scope of manifest.yml: add it and install the app again."
        if error == "missing_scope"
        else "Look at the settings slack.oncall and slack.escalation."
    )
    return f"I cannot check {what}: Slack says {escape(error)}. {fix} The card stays open."


def _earlier(answer: Decision, by: str, clicked: float) -> str:
    denied = answer.approval is not None and answer.approval.state is ApprovalState.DENIED
    verb = "denied" if denied else "approved"
    who = "You" if answer.by == by else mention(answer.by)
    if answer.at is None:
        return f"{who} {verb} this before."
    if clicked < answer.at:
        return f"{who} {verb} this while your click was on its way."
    return f"{who} {verb} this {_span(clicked - answer.at)} before your click."


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{int(seconds)} s" if seconds >= 1 else "a moment"
    return f"{int(seconds // 60)} min" if seconds < 7200 else f"{int(seconds // 3600)} h"


def status(boards: Sequence[Board], command: str) -> str:
    """One line a run, what needs a person first."""
    if not boards:
        return f"Nothing moves. Start with: {command} host HV01 to HV02"
    ordered = sorted(boards, key=lambda b: (not b.questions, b.run.id))
    return fit_lines([_status_line(board) for board in ordered], TEXT)


def listing(boards: Sequence[Board], needy: Iterable[int], hidden: int, command: str) -> str:
    """One line a run in the order given; ``needy`` are runs that only a person can help on."""
    if not boards:
        return f"There is no run yet. Start with: {command} host HV01 to HV02"
    helpless = frozenset(needy)
    lines = [_status_line(board, board.run.id in helpless) for board in boards]
    return fit_lines([*lines, *([f"… and {count(hidden, 'run')} more"] if hidden else [])], TEXT)


def _status_line(board: Board, needy: bool = False) -> str:
    run = board.run
    parts = [f"{run.label} · {route(run)} · {STATE[run.state]}"]
    parts.append(f"{board.moved} of {board.total} moved")
    if board.questions and not run.over:
        parts.append("needs an approval")
    if needy or board.needs:
        parts.append("needs a person")
    parts += [f"{len(vms)} {ENDS[state]}" for state, vms in badly_ended(board)]
    return " · ".join(parts)


def one_status(board: Board, deciders: Deciders, command: str) -> str:
    """The board of one run, to one person, in words."""
    return board_view(board, deciders, command).text


def report(lines: Sequence[str], people: Iterable[str], command: str) -> str:
    """The report of one run, to one person; ``people`` are those whom it names."""
    known = list(people)
    shown = [reported(typed(escape(line), command), known) for line in urgent_first(lines)]
    return fit_lines(shown, TEXT)


def carried_out(sentence: str, people: Iterable[str], command: str) -> str:
    """What a verb came to; ``people`` are those whom the engine may name in it."""
    return named(typed(escape(sentence), command), people)


def carried_out_before(done: Sequence[Event], by: str) -> str:
    """The same after a kill: what the audit has of the first time."""
    lines = [acted(escape(event.text), [by]) for event in done[:5]]
    more = f"… and {len(done) - 5} more" if len(done) > 5 else ""
    return fit(" ".join([*lines, more]).strip(), TEXT)


def undecided(sentence: str, asked: Approval, run: Run, deciders: Deciders) -> str:
    """A decision that changed nothing, and who decided or may."""
    if asked.by is not None:
        at = date(asked.decided or asked.requested)
        return f"{escape(sentence)} It is {asked.state} by {mention(asked.by)} {at}."
    if asked.state is not ApprovalState.REQUESTED or run.over:
        return escape(sentence)
    able = _able(run, deciders)
    return f"{escape(sentence)} " + (
        f"May decide: {mentions(able)}." if able else f"At present {nobody(run, deciders)}."
    )


def open_questions(
    asked: Sequence[tuple[Approval, Board, Sequence[str]]], deciders: Deciders, command: str
) -> str:
    """What waits for a yes or no, a line each, and how to say it."""
    if not asked:
        return "Nothing waits for a yes or no."
    lines = [_open_question(*one, deciders) for one in asked]
    how = f"Click on the card, or type: {command} approve {asked[0][0].label}"
    return f"{fit_lines(lines, TEXT - len(how) - 1)}\n{how}"


def _open_question(
    approval: Approval, board: Board, names: Sequence[str], deciders: Deciders
) -> str:
    run, able = board.run, _able(board.run, deciders)
    by = f" · needed by {date(board.needed_by)}" if board.needed_by else ""
    who = f"may decide: {mentions(able)}" if able else nobody(run, deciders)
    return f"{approval.label} · {run.label} · {route(run)} · {several(names)}{by} · {who}"


def happened(lines: Sequence[Event], people: Collection[str]) -> str:
    """The last lines of the audit, oldest first. A VM that is named like a person stays a VM."""
    told = [f"{date(e.at, '{time_secs}')} {_happened(e, people)}" for e in lines]
    return fit_lines(told, TEXT) or "Nothing has happened yet."


def _happened(event: Event, people: Collection[str]) -> str:
    known = [by for by in sorted(people) if by not in (event.vm or "")]
    return (reported if event.by is None else acted)(escape(event.text), known)


def help_text(command: str, topic: str = "") -> str:
    """What can be typed, out of the one table of verbs."""
    verbs = [v for v in VERBS if v.where in ("both", "slack")]
    asked = [v for v in verbs if v.name == topic.casefold()]
    lines = [f"`{command} {v.usage}`  {escape(v.about)}" for v in asked or verbs]
    if not asked or asked[0].request:
        options = ", ".join(o.word for o in OPTIONS if not o.terminal_only)
        lines.append(f"Then, as you like: {options}")
    hint = f"In threads slash commands do not work: write there {SPOKEN} status, for example."
    return "\n".join(lines if command == SPOKEN else [*lines, hint])
