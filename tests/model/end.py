"""The end of an attempt: one VM, its source HV01, its destination HV02, and VMM.

A live move: VMM's job begins, Hyper-V follows; HV01 shows a migrating word and HV02 nothing (a
planned VM cannot be seen), then both show it, then only HV02. A powered-down move: HV01 shows it at
rest for the whole copy, then both, then only HV02, or both for good. VMM may restart (jobs gone,
status cleared or stuck) or lose a host (the job is called failed, the hosts go on). A start may act
late, but its guard refuses it after ``not_after``. Somebody else may move the VM, clocks may step,
the engine may be killed or replaced between any two steps.

A look is *asked*, then *evaluated* by the world, then *answered*; anything may happen in between. A
silent host is a look that is never evaluated. Time goes by 30 s: ``not_after`` is 1 after the
start's row, the look-ups last 1 more.

Taken for granted: a call that has passed its guard acts within the look-ups or never; a move shows
neither word nor job for less than 30 s, and once at most; VMM's clock is not set back by more than
the look-ups last; a host's complete answer is no lie; people judge by what is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.model.explorer import Harm, Rules

LIVE, COLD = False, True
NOT_AFTER, LOOKUPS, OLD = 1, 1, {LIVE: 4, COLD: 5}  # OLD: a doubt's limit, or older than matters
SETTLED = ("done", "failed", "settled")
HV = {"src": "HV01", "dst": "HV02"}
_SWITCH = ("the switch: both hosts show it", {"hv": "switch", "place": "SD"}, "fair")
_FAILS = ("the move fails: it stays on HV01", {"hv": ""}, "")
_LETS_GO = ("HV01 lets go: only HV02 shows it", {"hv": "", "place": "D"}, "fair")
#: What can follow in the hosts: label, what changes, kind.
HYPER_V: dict[str, tuple] = {
    "begin": (("the move fails before Hyper-V begins", {"hv": ""}, ""),),
    "copy": (("HV01 shows no word for a moment", {"hv": "pause"}, ""), _SWITCH, _FAILS),
    "pause": (("HV01 shows the migrating word again", {"hv": "late"}, "fair"),),
    "late": (_SWITCH, _FAILS),
    "switch": (_LETS_GO,),
    "trail": (_LETS_GO,),
    "bits": (
        ("the copy is complete: both hosts show it", {"hv": "both", "place": "SD"}, "fair"),
        _FAILS,
    ),
    "both": (_LETS_GO, ("the source's copy cannot be removed", {"hv": ""}, "")),
}


class Look(NamedTuple):
    """A question under way. ``counts``: what it may prove, fixed when it is asked (0 nothing, 1 a
    first word, 2 a second one). ``says``: None until the world has evaluated it."""

    counts: int
    says: object = None
    age: int = 0
    of: str = ""  # the job that is asked for by its id


class Word(NamedTuple):
    """What a host said last that counts. ``level``: 1 said once, 2 once and 30 s ago, 3 twice."""

    says: str = ""
    level: int = 0


class End(NamedTuple):
    """The world, the engine's rows, and what is under way between them."""

    cold: bool
    place: str = "S"  # where a full copy can be seen: S, D, SD
    hv: str = ""  # begin, copy, pause, late, switch, trail; bits, both; other (somebody else's)
    job: str = ""  # of the open attempt: run, ok, failed, cut (VMM gave it up), gone
    other: str = ""  # somebody else's job of this VM: run, ended
    status: str = "rest"  # VMM's: rest, under, failed, stuck (UnderMigration for good)
    call: str = "sent"  # sent, checked, checked+ (30 s ago), done
    answer: bool = False  # the start's answer is under way
    skew: int = 0  # of VMM's clock
    left: tuple = ()  # troubles that may still happen
    tries: int = 1  # rows from here on
    age: int = 0  # of the start's row
    id: str = ""  # the job's: own (by the start's answer), own? or other? (found in the list)
    said: str = ""  # VMM's word on the job's end: ok, failed, lost
    src: Word = Word()
    dst: Word = Word()
    free: tuple = (False, False)
    ended: str = ""  # done, failed, ask (a person), settled
    ask_jobs: Look | None = None  # under way from here on
    ask_src: Look | None = None
    ask_dst: Look | None = None


def end_world(off: frozenset, tries: int) -> Callable:
    """The steps of the first world without the rules in ``off``."""
    on = Rules(off)
    nothing_asked = {"ask_jobs": None, "ask_src": None, "ask_dst": None}

    def over(s: End) -> bool:
        """May a start whose job nobody sees be taken as never to begin?"""
        clock = min(s.age, s.age + s.skew) if on["own-clock"] else s.age + s.skew
        return clock > NOT_AFTER + LOOKUPS * on["look-ups"] or not on["not-after"]

    def works(s: End) -> str:
        """What is still at work for the open attempt: the truth, which nobody sees."""
        if s.hv not in ("", "other", "trail"):
            return "it is still on its way"
        if s.job == "run":
            return "VMM's job of it still runs"
        early = s.age + s.skew - s.left.count("clock back") <= NOT_AFTER or not on["guard-deadline"]
        return (
            "its start can still begin"
            if s.call in ("checked", "checked+") or (early and s.call == "sent")
            else ""
        )

    def counts(s: End, word: Word) -> int:
        """What a look at a host that is asked now may prove."""
        sure = s.said in ("ok", "failed") or (
            s.said == "lost" and (over(s) or (s.cold and not on["cold-after"]))
        )
        return 0 if not sure else 2 if word.level >= 2 else 1

    def hear_host(s: End, host: str, look: Look) -> tuple[str, End | Harm]:
        """The engine writes a host's answer and does what follows from its rows."""
        word = getattr(s, host)
        proof = look.counts if on["asked-after"] else counts(s, word)
        s = s._replace(**{f"ask_{host}": None})
        if s.ended or not proof:
            return "", s
        if look.says == "word" or (word.level and word.says != look.says):
            s = s._replace(src=Word(), dst=Word())  # it moves or has changed: both hosts anew
        if look.says == "word":
            return "", s
        level = 1 if on["apart"] or look.age < 1 else 2
        if word.says == look.says:
            level = 3 if proof == 2 else word.level
        return judge(s._replace(**{host: Word(look.says, level)}))

    def judge(s: End) -> tuple[str, End | Harm]:
        """Free what a host's own word frees; then, by both words, the end of the attempt."""
        seen = s.said in ("ok", "failed")  # VMM saw the job to its end
        enough = 1 if seen or not on["twice"] else 3
        free = list(s.free)
        for i, word in enumerate((s.src, s.dst)):
            proves = seen or (i == 0 and word.says == "none")
            proves |= not s.cold and (word.says == "rest" or not on["nothing-there"])
            if proves and word.level >= enough and not free[i]:
                free[i] = True
                if works(s):
                    return f"the slot of HV0{i + 1} is freed", Harm(
                        f"a slot is freed while {works(s)}"
                    )
        s = s._replace(free=tuple(free))
        place = "S" * (s.src.says == "rest") + "D" * (s.dst.says == "rest")
        both = min(s.src.level, s.dst.level)
        if both < 1 or both < (3 if place == "SD" and on["both-twice"] else enough):
            return "", s
        if place == "":
            return "", s._replace(src=Word(), dst=Word())
        doubt = {"S": on["cold-source"], "SD": on["cold-both"], "D": False}[place]
        return ("", s) if s.cold and not seen and doubt else end(s, place)

    def end(s: End, place: str) -> tuple[str, End | Harm]:
        """The verdict, held against the truth."""
        label = (
            "judged: " + {"S": "ended on its source", "D": "arrived", "SD": "in two places"}[place]
        )
        if works(s):
            return label, Harm(f"{label} while {works(s)}")
        if s.hv == "trail" and place == "SD":
            return label, Harm(f"{label} in a moment that passes by itself")
        if s.hv != "trail" and s.place != place and not s.other:
            return label, Harm(f"{label} while it is on {s.place}")
        if place == "S" and s.tries < tries:
            again = End(
                s.cold,
                s.place,
                s.hv,
                "",
                s.other,
                s.status,
                skew=s.skew,
                left=s.left,
                tries=s.tries + 1,
            )
            return f"{label}; the next start is written", again
        ended = {"S": "failed", "D": "done", "SD": "ask"}[place]
        return label, s._replace(
            ended=ended, src=Word(), dst=Word(), free=(True, True), **nothing_asked
        )

    def hear_vmm(s: End, look: Look) -> End:
        """The running job of this VM, and what became of the one that was asked for by its id."""
        running, states = look.says
        s = s._replace(ask_jobs=None)
        if s.ended or look.of != s.id:
            return s
        if s.id != "own" and running and s.id != f"{running}?":  # the latest that was found
            return s._replace(id=f"{running}?", said="", src=Word(), dst=Word())
        if s.id == "":
            late = look.counts or not on["jobs-too"] or (s.cold and not on["cold-after"])
            return s._replace(said=s.said or "lost") if late else s
        state = dict(states)[s.id.rstrip("?")]
        early = s.id.endswith("?") and on["own-job"] and (not look.counts or running)
        if s.said or state == "run" or early:
            return s
        cut = "lost" if on["cut-is-lost"] else "failed"
        said = {"gone": "lost", "": "lost", "ended": "failed", "cut": cut}.get(state, state)
        return s._replace(said=said, src=Word(), dst=Word())

    def steps(s: End) -> Iterator[tuple[str, End | Harm, str]]:
        if s.ended not in SETTLED:
            for part in (start, hyper_v, vmm, others, looks, times):
                yield from part(s, s._replace)

    def start(s: End, put: Callable) -> Iterator:
        if s.call == "sent":
            in_time = s.age + s.skew <= NOT_AFTER or not on["guard-deadline"]
            if in_time and "run" not in (s.job, s.other) and s.place == "S" and s.status != "under":
                yield "the start passes its guard", put(call="checked"), ""
            else:
                yield "the start's guard refuses it (nobody hears it)", put(call="done"), "fair"
        if s.call.startswith("checked"):
            yield "the start dies in VMM (nobody hears it)", put(call="done"), ""
            if s.other == "run":
                yield "VMM refuses the start: the VM is locked", put(call="done"), "fair"
            else:
                begun = put(
                    call="done",
                    job="run",
                    hv="bits" if s.cold else "begin",
                    status="under",
                    answer=True,
                )
                yield (
                    "VMM's job begins",
                    Harm("two migrations of one VM at once") if s.hv else begun,
                    "fair",
                )
        if s.answer:
            yield (
                "the start's answer comes: the job's id",
                put(answer=False, id=s.id if s.said else "own"),
                "",
            )

    def hyper_v(s: End, put: Callable) -> Iterator:
        for label, what, kind in HYPER_V.get(s.hv, ()):
            yield label, put(**what), kind
        if s.hv == "begin":
            late = "" if s.job == "run" else " though VMM gave up"
            yield (
                f"Hyper-V begins{late}: HV01 shows a migrating word",
                put(hv="late" if late else "copy"),
                "fair",
            )

    def vmm(s: End, put: Callable) -> Iterator:
        if s.job != "run":
            return
        if s.hv == "":
            good = "ok" if s.place == "D" else "failed"
            yield f"VMM's job ends: {good}", put(job=good, status="rest"), "fair"
            yield (
                "VMM's job ends: failed, whatever happened",
                put(job="failed", status="failed"),
                "",
            )
        if s.hv == "switch":
            yield (
                "VMM's job ends: ok, while HV01 still lists it",
                put(hv="trail", job="ok", status="rest"),
                "",
            )
        if "cut" in s.left:
            cut = put(job="cut", status="failed", left=_less(s.left, "cut"))
            yield "VMM loses a host or restarts: it calls the job failed", cut, ""
        if "restart" in s.left:
            after = put(job="gone", left=_less(s.left, "restart"))
            yield "VMM restarts: no jobs, the status is cleared", after._replace(status="rest"), ""
            yield (
                "VMM restarts: no jobs, UnderMigration for good",
                after._replace(status="stuck"),
                "",
            )

    def others(s: End, put: Callable) -> Iterator:
        if "other" in s.left and s.hv == "" and s.place != "SD" and "run" not in (s.job, s.other):
            yield (
                "somebody else moves it",
                put(other="run", hv="other", left=_less(s.left, "other")),
                "",
            )
        if s.hv == "other":
            away = put(hv="", other="ended", place="D" if s.place == "S" else "S")
            yield f"somebody else's move ends: it is on {away.place}", away, "fair"
            yield "somebody else's move fails: it stays", put(hv="", other="ended"), ""
        if s.ended == "ask" and not works(s) and s.hv == "":
            yield "a person has looked", put(ended="settled"), "fair"

    def looks(s: End, put: Callable) -> Iterator:
        if s.ended:
            return
        look = s.ask_jobs
        if look is None and s.said in ("", "lost"):
            yield "VMM is asked", put(ask_jobs=Look(int(over(s)), of=s.id)), "fair"
        elif look is not None and look.says is None:
            running = "own" if s.job == "run" else "other" if s.other == "run" else ""
            says = (running, (("own", s.job), ("other", s.other)))
            label = "VMM looks: " + ("a job of it runs" if running else "none runs")
            yield label, put(ask_jobs=look._replace(says=says)), "fair"
        elif look is not None:
            after = hear_vmm(s, look)
            word = f": the job is {after.said}" if after.said != s.said else ""
            yield f"VMM's answer comes{word}", after, "fair"
        for host, name in HV.items():
            look = getattr(s, f"ask_{host}")
            if look is None:
                proof = counts(s, getattr(s, host))
                if proof or not on["asked-after"]:
                    yield f"{name} is asked", put(**{f"ask_{host}": Look(proof)}), "fair"
            elif look.says is None:
                moving = s.hv in ("copy", "late", "switch") or (s.hv == "other" and not s.cold)
                says = "none" if host[0].upper() not in s.place else "word" if moving else "rest"
                yield (
                    f"{name} looks: {says}",
                    put(**{f"ask_{host}": look._replace(says=says)}),
                    "fair",
                )
            else:
                label, after = hear_host(s, host, look)
                yield f"{name}'s answer comes: {look.says}{label and '; '}{label}", after, "fair"

    def times(s: End, put: Callable) -> Iterator:
        held = (
            s.call == "checked+"
            or s.hv in ("pause", "trail")
            or (s.hv == "begin" and s.job != "run")
        )
        after = s if held else half_a_minute_later(s)
        if after != s:
            yield "30 s pass", after, "fair"
        for trouble, by in (("clock back", -1), ("clock on", 1)):
            if trouble in s.left:
                yield (
                    f"VMM's {trouble} by 30 s",
                    put(skew=s.skew + by, left=_less(s.left, trouble)),
                    "",
                )
        if "kill" in s.left:
            after = put(answer=False, left=_less(s.left, "kill"), **nothing_asked)
            yield "the engine is killed; another one goes on from the rows", after, ""

    def half_a_minute_later(s: End) -> End:
        s = s._replace(
            age=min(s.age + 1, OLD[s.cold]), call="checked+" if s.call == "checked" else s.call
        )
        for host in HV:
            word, look = getattr(s, host), getattr(s, f"ask_{host}")
            if word.level == 1:
                s = s._replace(**{host: Word(word.says, 2)})
            if look is not None and not on["apart"]:
                s = s._replace(**{f"ask_{host}": look._replace(age=1)})
        in_doubt = s.cold and s.said == "lost" and not s.ended and s.age >= OLD[COLD]
        calls = in_doubt and (on["limit-alone"] or s.status not in ("under", "stuck"))
        return s._replace(ended="ask", **nothing_asked) if calls else s

    return steps


def _less(left: tuple, trouble: str) -> tuple:
    at = left.index(trouble)
    return left[:at] + left[at + 1 :]
