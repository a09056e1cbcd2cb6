"""One battery, steered step by step: see, decide, act, and say why.

The controller knows no clock and no line of its own: it is told the time, sees by a ``Sight``, and
writes by an ``Adapter``. Whatever it does not understand, it hands the battery back for.
"""

import logging
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from fl_client.control.adapters.adapter import Adapter
from fl_client.control.following import Following, at_the_grid
from fl_client.control.law import Course, Wish, carried_on, wish
from fl_client.control.limits import Limits, Soc, SocWatch, confined
from fl_client.control.proof import FOLLOWS, IGNORES, WEAKER, MeterTally, Proof, Tally, slack_kw
from fl_client.control.record import (
    COMMAND,
    FOLLOW,
    HAND_BACK,
    NONE,
    NOTE,
    OBSERVE,
    OVERRIDDEN,
    OWN,
    SETPOINT,
    SHADOW,
    STEERING,
    TAKE,
    Override,
    Plan,
    Record,
    Snapshot,
)
from fl_client.control.recourse import Fill, PlannedRecourse
from fl_client.control.settings import Control
from fl_client.control.sight import Seen, Sight
from fl_client.control.steering import Steering

_log = logging.getLogger(__name__)

# A setpoint that differs by less is not worth a command.
_DEADBAND_KW = 0.03
_PROOF_KW = 0.3
# A state of charge is compared with the energy counted up to it.
_TOGETHER_S = 30.0
# A plan may come so long after its interval has begun; the battery serves its house meanwhile.
_PLAN_LATE_S = 180.0
# What the battery cannot do is tried again after so long; what it ignores, in ever longer pauses.
_WEAKER_S = 900.0
_TRIES = 3
_PAUSE_S, _LONGEST_PAUSE_S = 900.0, 4 * 3600.0
# From one hand-back to the next take, and between two hand-backs that seem to be ignored.
_RETAKE_S, _AGAIN_S = 30.0, 60.0
# So often may it be taken in so long: a mode may stand in flash, which wears out.
_TAKES, _TAKES_S = 8, 3600.0
_LINES = 2000  # of the log in that time, at a command every two seconds
# Readings that are further ahead than that were told before the clock was set back.
_AHEAD_S = 5.0
# A state of charge beyond that is none; a few batteries tell a little more than full.
_SOC_BEYOND = 0.02
# A state of charge at which a battery surely has something to give, and room.
_HALF_EMPTY = (0.4, 0.6)
# A house that draws or spares less is served by its battery, for all that can be seen.
_SERVED_KW = 0.15
# Without a watchdog of the inverter nobody takes a command back for so long, if all goes wrong.
_UNWATCHED_S = 300.0


class Because(NamedTuple):
    """Why the battery is not steered: what it is about, for the log, and a sentence for people."""

    about: str
    words: str


@dataclass
class _Course:
    """What is kept of the interval that runs."""

    steering: Steering
    soc: Soc
    fill: Fill | None = None
    recourse: PlannedRecourse | None = None
    # In shadow mode: what the battery would have done [kWh], up to when.
    shadow_kwh: float = 0.0
    shadow_to: float = -math.inf


class Controller:
    """Steers a battery, or says what it would do. Call ``step`` every few seconds."""

    def __init__(
        self,
        control: Control,
        adapter: Adapter | None,
        sight: Sight,
        record: Record,
        plans: Callable[[], tuple[Steering, Fill] | None],
    ) -> None:
        self._control, self._adapter, self._sight = control, adapter, sight
        self._record, self._plans = record, plans
        self._proof, self._tally = Proof(control.delay), Tally(control.delay)
        self._meter = MeterTally()
        self._following = Following(control)
        self._soc: SocWatch | None = None
        self._soc_seen: float | None = None
        self._course: _Course | None = None
        self._held = self._again = False
        self._setpoint: float | None = None
        self._sent_at: float | None = None
        self._handed_at = -math.inf
        self._tries = 0
        self._pause_s = _PAUSE_S
        self._paused: tuple[float, Because] | None = None
        self._weaker: dict[int, tuple[float, float]] = {}  # by direction: (kW, until)
        self._about = ""
        self._last_told: tuple[str, float] | None = None  # SETPOINT or FOLLOW, kW
        # Since it was handed back: readings that show what it was told before, and others.
        self._as_before = self._own_way = 0
        self._judged_at, self._again_s = -math.inf, _AGAIN_S
        # A process that was killed may have left the inverter under command, in whatever mode.
        before = record.snapshot()
        self._owes = record.owed or (
            before is not None and before.mode == COMMAND and before.state == STEERING
        )
        if self._owes:
            at = 0.0 if before is None else before.at
            self._say(at, NOTE, "control had ended while it steered: the battery is handed back "
                      "first")  # fmt: skip

    # ---- one step -----------------------------------------------------------------------------

    def step(self, now: float) -> Snapshot:
        """Do what is to be done at ``now`` [s since 1970]; returns what was written down."""
        try:
            return self._step(now)
        except Exception as error:
            # Whatever it is: a battery under command must not be left to nobody.
            _log.exception("control stumbled")
            return self._stumbled(now, f"{type(error).__name__}: {error}")

    def _step(self, now: float) -> Snapshot:
        seen = self._sight.see(now)
        override = self._record.override(now)
        plan = self._plans()
        if isinstance(seen, Seen) and plan is not None and _wrong_with(seen, now) is None:
            self._follow_soc(seen, plan[0])
            self._judge(now, seen, plan[0])
        because = self._because(now, seen, override, plan)
        if because is not None:
            return self._leave(now, seen, override, plan, because)
        assert isinstance(seen, Seen)
        assert plan is not None
        return self._steer(now, seen, *plan)

    def _stumbled(self, now: float, words: str) -> Snapshot:
        """Hand the battery back, and try again later."""
        if self._paused is None or now >= self._paused[0]:
            self._pause(now, "fault", f"control stumbled ({words})")
        assert self._paused is not None
        because = self._paused[1]
        if self._held or self._owes:
            self._hand_back(now, because.words)
        self._setpoint, self._course = None, None
        self._following.end()
        snapshot = self._snapshot(now, OWN, because.words)
        with self._though_unwritten(because.words):
            self._record.put(snapshot)
        return snapshot

    def close(self, now: float) -> None:
        """End in good order: the battery is its inverter's again."""
        if self._held or self._owes:
            self._hand_back(now, "control ends")
        why = "control does not run; the battery serves its own house"
        if self._owes:
            why = f"control does not run, and {self._unpaid}"
        with self._though_unwritten(why):
            before = self._record.snapshot()
            if before is not None:
                last = replace(before, at=now, state=OWN, why=why, setpoint_kw=None, follow_kw=None)
                self._record.put(last)

    # ---- whether to steer ---------------------------------------------------------------------

    def _because(
        self,
        now: float,
        seen: Seen | str,
        override: Override | None,
        plan: tuple[Steering, Fill] | None,
    ) -> Because | None:
        """What stands against steering now, the strongest first."""
        control = self._control
        if control.mode in (NONE, OBSERVE):
            return Because("mode", "control observes only")
        if override is not None:
            who = override.who or "somebody of the house"
            return Because(
                "override", f"override by {who}" + f": {override.why}" * bool(override.why)
            )
        if isinstance(seen, str):
            return Because("readings", seen)
        if seen.permitted is False:
            return Because("switch", "the battery's own switch says that it is not to be commanded")
        wrong = _wrong_with(seen, now)
        if wrong is not None:
            return Because("readings", wrong)
        if now - seen.oldest > control.stale_s:
            return Because("readings", f"the newest readings are {now - seen.oldest:.0f} s old")
        if self._paused is not None:
            if now < self._paused[0]:
                return self._paused[1]
            self._paused = None
        if self._soc is not None and self._soc.stuck:
            return Because(
                "soc", f"the state of charge, {seen.soc:.0%}, does not follow the energy"
            )
        if plan is None:
            return Because("plan", "there is no plan yet")
        steering = plan[0]
        acts = now + control.deadtime_s
        if acts < steering.start or acts >= steering.end + _PLAN_LATE_S:
            return Because("plan", "no plan for this interval yet; the coordinator may be late")
        if not all(math.isfinite(value) for value in steering.plan):
            return Because("trader", f"the trader holds: {steering.reason or 'no reason given'}")
        if self._owes:
            return Because("pause", "nobody knows what was commanded last: handed back first")
        if control.mode == COMMAND:
            assert self._adapter is not None
            if self._adapter.trouble:
                return self._unreachable()
            if not self._held:
                if 0 <= now - self._handed_at < _RETAKE_S:
                    return Because("pause", "it was handed back a moment ago")
                if self._taken(now) >= _TAKES:
                    return Because("often", "it was taken too often in the last hour")
                if acts >= steering.end:
                    return Because("plan", "the plan of the next interval is still to come")
        return None

    def _taken(self, now: float) -> int:
        """How often the battery was taken in the last hour, by whatever process."""
        lines = self._record.commands(now - _TAKES_S, _LINES)
        return sum(one.command == TAKE and one.sent and one.at <= now for one in lines)

    def _unreachable(self) -> Because:
        trouble = "" if self._adapter is None else self._adapter.trouble
        return Because("line", f"the battery cannot be reached: {trouble or 'nothing was sent'}")

    def _leave(
        self,
        now: float,
        seen: Seen | str,
        override: Override | None,
        plan: tuple[Steering, Fill] | None,
        because: Because,
    ) -> Snapshot:
        """Do not steer: hand back once, and say why."""
        if self._held or self._owes:
            self._hand_back(now, because.words)
        if because.about != self._about:
            self._say(now, NOTE, f"not steered: {because.words}")
            self._about = because.about
        if isinstance(seen, Seen) and _wrong_with(seen, now) is None:
            self._check_handed_back(now, seen)
        self._setpoint, self._course = None, None
        self._following.end()
        state = OVERRIDDEN if because.about in ("override", "switch") else OWN
        limits = None
        if plan is not None and because.about != "fault":
            limits = self._limits(now, plan[0])
        why = f"{because.words}; {self._unpaid}" if self._owes else because.words
        return self._put(now, seen, state, why, override=override, limits=limits)

    @property
    def _unpaid(self) -> str:
        """What is to be said while the battery could not be handed back."""
        line = "control.yaml names no way to it" if self._adapter is None else self._adapter.trouble
        return ("the battery was not handed back yet, and may go on as it was told last"
                f"{': ' * bool(line)}{line}")  # fmt: skip

    # ---- what is seen -------------------------------------------------------------------------

    def _follow_soc(self, seen: Seen, steering: Steering) -> None:
        if self._soc is None:
            battery = steering.battery
            eta = math.sqrt(battery["round_trip_efficiency"])
            self._soc = SocWatch(battery["capacity_kwh"], eta)
        to = min(seen.counted_to, seen.soc_at)
        if seen.soc_at - to > _TOGETHER_S:
            return  # what has flowed until it was told comes later
        if self._soc_seen is None:
            self._soc.hear(seen.soc, 0.0)
            self._soc_seen = to
        elif to > self._soc_seen:
            self._soc.hear(seen.soc, self._sight.counted(self._soc_seen, to)[1])
            self._soc_seen = to

    def _judge(self, now: float, seen: Seen, steering: Steering) -> None:
        """Whether what was commanded is done, and whether the meter agrees with itself."""
        self._meter.see(seen.powers_at, seen.grid_kw)
        if self._meter.fails(seen.counted_to, lambda a, b: sum(self._sight.counted(a, b))):
            self._meter.forget()
            words = "the power that the meter tells is not that of its registers"
            self._paused = now + _PAUSE_S, Because("readings", words)
            self._say(now, NOTE, words)
            return
        if not self._held:
            return
        told_kw = self._following.told_kw
        if told_kw is not None:
            if self._following.fails(now, seen, steering.battery["power_kw"]):
                self._say(now, NOTE, f"told to keep {told_kw:.2f} kW at the grid, the meter "
                          f"shows {seen.grid_kw:.2f} kW: setpoints for a while")  # fmt: skip
            return
        if self._tally.fails(seen.counted_to, lambda a, b: self._sight.counted(a, b)[1]):
            self._give_up(now, "its energy is not that of the commands")
            return
        told, shown = self._setpoint or 0.0, seen.battery_kw
        limits = self._limits(now, steering)
        most = limits.charge_kw if shown > 0 else limits.discharge_kw
        if abs(shown) > most + slack_kw(most) and self._proof.commanded(seen.battery_at):
            self._give_up(now, f"told {told:.2f} kW, the battery does {shown:.2f} kW, beyond its "
                          "limits")  # fmt: skip
            return
        verdict = self._proof.see(seen.battery_at, shown)
        if verdict == FOLLOWS and abs(shown) > _PROOF_KW:  # rest proves little
            self._tries, self._pause_s = 0, _PAUSE_S
        elif verdict == WEAKER:
            way = 1 if told > 0 else -1
            self._weaker[way] = (abs(shown), now + _WEAKER_S)
            doing = "charges" if way > 0 else "discharges"
            self._say(now, NOTE, f"the battery {doing} with no more than {abs(shown):.2f} kW")
        elif verdict == IGNORES:
            self._tries += 1
            words = f"told {told:.2f} kW, the battery does {shown:.2f} kW"
            if self._tries >= _TRIES:
                self._give_up(now, words)
            else:
                self._say(now, NOTE, f"{words}: told again")
                self._again = True

    def _give_up(self, now: float, words: str) -> None:
        self._pause(now, "battery", f"the battery does not obey ({words})")
        self._tries = 0
        self._owes = True

    def _pause(self, now: float, about: str, words: str) -> None:
        """Leave the battery alone for a while, each time for longer."""
        because = Because(about, f"{words}; tried again in {self._pause_s / 60:.0f} minutes")
        self._paused = now + self._pause_s, because
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    # ---- steering -----------------------------------------------------------------------------

    def _limits(self, now: float, steering: Steering) -> Limits:
        control, battery = self._control, steering.battery
        power = {1: min(control.charge_kw, battery["power_kw"]),
                 -1: min(control.discharge_kw, battery["power_kw"])}  # fmt: skip
        for way, (kw, until) in list(self._weaker.items()):
            if now >= until:
                del self._weaker[way]
            power[way] = min(power[way], kw)
        return Limits(
            charge_kw=power[1],
            discharge_kw=power[-1],
            soc_min=max(control.soc_min, battery["soc_min"]),
            soc_max=min(control.soc_max, battery["soc_max"]),
            capacity_kwh=battery["capacity_kwh"],
            eta=math.sqrt(battery["round_trip_efficiency"]),
            # A connection carries its energy of half an hour evenly.
            import_kw=2 * steering.connection["import_kwh"],
            export_kw=2 * steering.connection["export_kwh"],
        )

    def _hold_s(self, now: float, seen: Seen) -> float:
        """For how long what is commanded now may act without anybody's doing."""
        alone_s = self._control.watchdog_s or _UNWATCHED_S
        return max(now - seen.soc_at, 0.0) + alone_s + self._control.deadtime_s

    def _steer(self, now: float, seen: Seen, steering: Steering, fill: Fill) -> Snapshot:
        control = self._control
        assert self._soc is not None
        limits, soc = self._limits(now, steering), self._soc.now
        net_kw = seen.grid_kw - seen.battery_kw
        acts = now + control.deadtime_s
        if acts >= steering.end:
            # The next plan comes when its interval has begun.
            course, wished = None, Wish(0.0, 0.0, -net_kw, 0.0)
            if now < steering.end and self._setpoint is not None:
                wished = Wish(0.0, 0.0, self._setpoint, self._following.told_kw)
            why = "the plan of this interval is still to come: the battery serves its house"
            plan = None
        else:
            course = self._course_of(steering, fill, soc, limits, seen)
            wished, plan = self._wish(course, acts, seen, net_kw, fill)
            why = _in_words(wished, plan)
        hold_s = self._hold_s(now, seen)
        grid_kw = self._following.wanted(
            now, wished, steering.battery["power_kw"], limits, soc, hold_s
        )
        wished_kw = wished.kw if grid_kw is None else grid_kw - net_kw
        if not math.isfinite(wished_kw):
            raise ValueError("the plan leads to no power")
        kw = round(confined(wished_kw, limits, soc, net_kw, hold_s), 3)
        if course is not None and control.mode == SHADOW:
            self._imagine(course, now)
        if grid_kw is None and abs(kw - wished.kw) > 1e-3:
            why += f"; limited to {'rest' if kw == 0 else f'{abs(kw):.2f} kW'}"
        if self._due(now, kw, grid_kw):
            self._send(now, kw, grid_kw, why)
        elif self._following.told_kw is not None:
            self._setpoint = kw  # the inverter has followed the house
        state = STEERING if control.mode == COMMAND and self._held else OWN
        if control.mode == COMMAND and not self._held:
            why = self._unreachable().words
        if state == STEERING or control.mode == SHADOW:
            self._about = ""
        return self._put(now, seen, state, why, plan=plan, limits=limits)

    def _course_of(
        self, steering: Steering, fill: Fill, soc: Soc, limits: Limits, seen: Seen
    ) -> _Course:
        course = self._course
        if course is None or (course.steering.run, course.steering.t) != (steering.run, steering.t):
            # What the store held when the interval began.
            moved = self._sight.counted(steering.start, seen.counted_to)[1]
            stored = moved * limits.eta if moved > 0 else moved / limits.eta
            then = stored / limits.capacity_kwh
            course = _Course(steering, Soc(soc.low - then, soc.high - then))
            self._course = course
        if course.recourse is None or fill != course.fill:
            course.fill = fill
            course.recourse = PlannedRecourse(steering, fill, course.soc, limits)
        return course

    def _wish(
        self, course: _Course, acts: float, seen: Seen, net_kw: float, fill: Fill
    ) -> tuple[Wish, Plan]:
        steering = course.steering
        net_kwh, battery_kwh = self._sight.counted(steering.start, seen.counted_to)
        going = seen.battery_kw if self._setpoint is None else self._setpoint
        if self._following.told_kw is not None:
            power_kw = steering.battery["power_kw"]
            going = min(max(self._following.told_kw - net_kw, -power_kw), power_kw)
        if self._control.mode == SHADOW:
            battery_kwh = course.shadow_kwh
            carried = carried_on(net_kwh, 0.0, net_kw, 0.0, acts - seen.counted_to)[0], battery_kwh
        else:
            carried = carried_on(net_kwh, battery_kwh, net_kw, going, acts - seen.counted_to)
        assert course.recourse is not None
        wished = wish(
            Course(*carried, net_kw, steering.usual_kw, steering.end - acts),
            course.recourse,
            self._control.every_s,
        )
        plan = Plan(
            steering.start, steering.end, wished.target_kwh, battery_kwh, net_kwh,
            wished.rest_kwh, fill.bought, fill.sold, _known(steering.retail),
            _known(steering.feed_in),
        )  # fmt: skip
        return wished, plan

    def _imagine(self, course: _Course, now: float) -> None:
        """In shadow mode: the battery as it would have gone."""
        if self._setpoint is not None and math.isfinite(course.shadow_to):
            course.shadow_kwh += self._setpoint * (now - course.shadow_to) / 3600
        course.shadow_to = now

    # ---- commands -----------------------------------------------------------------------------

    def _due(self, now: float, kw: float, grid_kw: float | None) -> bool:
        """Whether a command is to be sent: on change, or before the inverter forgets the last."""
        if self._setpoint is None or self._sent_at is None:
            return True
        passed, watchdog = now - self._sent_at, self._control.watchdog_s
        if passed < 0:  # the clock was set back
            return True
        if self._control.mode == COMMAND and watchdog and passed >= watchdog / 2:
            return True
        changed = self._changed(kw, grid_kw) or self._again
        return passed >= self._control.every_s - 0.5 and changed

    def _changed(self, kw: float, grid_kw: float | None) -> bool:
        held_kw = self._following.told_kw
        if (grid_kw is None) != (held_kw is None):
            return True
        before, now = (self._setpoint, kw) if grid_kw is None else (held_kw, grid_kw)
        return before is None or abs(now - before) > _DEADBAND_KW or (now == 0) != (before == 0)

    def _send(self, now: float, kw: float, grid_kw: float | None, why: str) -> None:
        """Send a setpoint, or what the inverter is to hold at the grid where ``grid_kw`` says."""
        command, told_kw = (SETPOINT, kw) if grid_kw is None else (FOLLOW, grid_kw)
        if grid_kw is not None:
            why += f"; the inverter keeps {at_the_grid(grid_kw)} by itself"
        if self._control.mode == SHADOW:
            self._say(now, command, why, told_kw)
            self._told(now, kw, grid_kw)
            return
        assert self._adapter is not None
        try:
            if not self._held or self._again:
                self._take(now, why)
            if grid_kw is None:
                self._adapter.setpoint(kw)
            else:
                self._adapter.follow(grid_kw)
        except OSError as error:
            self._say(now, command, f"not sent: {error}", told_kw)
            self._held, self._again, self._owes, self._setpoint = False, False, True, None
            self._following.end()
            if grid_kw is not None:
                self._following.distrust(now)
            return
        if grid_kw is None:
            if self._following.told_kw is not None:  # what it held counts for no setpoint
                self._proof.begin(now)
                self._tally.begin(now)
            self._proof.sent(now, kw)
            self._tally.sent(now, kw)
        self._say(now, command, why, told_kw, sent=True)
        self._told(now, kw, grid_kw)
        self._last_told = command, told_kw

    def _take(self, now: float, why: str) -> None:
        """Make the inverter listen. Raises OSError, and sqlite3.Error, before anything was sent,
        where it cannot be written down: whoever comes next must know what is to be handed back."""
        assert self._adapter is not None
        self._record.owe(now)
        number = self._record.log(now, TAKE, why)
        self._held, self._again = True, False
        self._adapter.take()
        self._record.sent(number)
        self._proof.begin(now)
        self._tally.begin(now)
        self._as_before = self._own_way = 0
        self._again_s = _AGAIN_S

    def _told(self, now: float, kw: float, grid_kw: float | None) -> None:
        self._setpoint, self._sent_at = kw, now
        if grid_kw is None:
            self._following.end()
        else:
            self._following.sent(now, grid_kw)

    def _hand_back(self, now: float, why: str) -> None:
        """Give the battery back to its inverter; where that cannot be sent, it is owed."""
        if self._adapter is None:
            self._held = False
            return
        try:
            self._adapter.hand_back()
        except OSError as error:
            if not self._owes:
                self._say(now, HAND_BACK, f"{why}; not sent: {error}")
            self._held, self._owes, self._setpoint = False, True, None
            return
        self._say(now, HAND_BACK, why, sent=True)
        self._held = self._again = self._owes = False
        self._setpoint, self._handed_at = None, now
        self._as_before = self._own_way = 0
        with self._though_unwritten(why):  # the next process hands back once more then
            self._record.settle()

    def _check_handed_back(self, now: float, seen: Seen) -> None:
        """A hand-back that is ignored is repeated, in ever longer pauses: the battery goes on as it
        was last told, though its house needs something else."""
        if self._last_told is None:
            return
        command, told = self._last_told
        at = seen.battery_at if command == SETPOINT else seen.powers_at
        settled = self._handed_at + self._control.delay.settle_s(5.0) + 2
        if at <= max(self._judged_at, settled):
            return
        self._judged_at = at
        shown = seen.battery_kw if command == SETPOINT else seen.grid_kw
        if abs(shown - told) > slack_kw(told):
            self._own_way += 1
            self._as_before = 0
            if self._own_way >= 3:
                self._last_told = None
            return
        # At rest while the house is served, or empty, or full: that is what it does by itself, too.
        if abs(seen.grid_kw) < _SERVED_KW or (
            command == SETPOINT and abs(told) < _SERVED_KW and not self._could_serve(seen)
        ):
            return
        self._own_way = 0
        self._as_before += 1
        if self._as_before >= 3 and now - self._handed_at >= self._again_s:
            self._again_s = min(2 * self._again_s, _PAUSE_S)
            self._owes = True
            self._hand_back(now, "the battery goes on as it was told before: handed back again")

    def _could_serve(self, seen: Seen) -> bool:
        """Whether a battery that rests could do something for its house."""
        low, high = _HALF_EMPTY
        return seen.soc > low if seen.grid_kw > 0 else seen.soc < high

    # ---- saying so ----------------------------------------------------------------------------

    def _say(
        self, at: float, command: str, reason: str, kw: float | None = None, *, sent: bool = False
    ) -> None:
        """Add a line to the log of commands; what was sent was sent, where it cannot be written."""
        with self._though_unwritten(reason):
            self._record.log(at, command, reason, kw, sent=sent)

    @contextmanager
    def _though_unwritten(self, words: str) -> Iterator[None]:
        """Go on where the record cannot be written; the process's own log has it then."""
        try:
            yield
        except sqlite3.Error as error:
            _log.error("%s: %s: %s", self._record.path, error, words)

    def _faults(self, now: float) -> tuple[str, ...]:
        faults = [] if self._paused is None else [self._paused[1].words]
        if self._owes:
            faults.append(self._unpaid)
        elif self._again_s > _AGAIN_S and self._last_told is not None:
            faults.append("the battery goes on as it was told before it was handed back")
        if self._soc is not None and self._soc.stuck:
            faults.append("the state of charge does not follow the energy")
        faults += [
            f"{'charges' if way > 0 else 'discharges'} with no more than {kw:.2f} kW"
            for way, (kw, until) in self._weaker.items()
            if now < until
        ]
        if self._adapter is not None and self._adapter.trouble:
            faults.append(f"cannot be reached: {self._adapter.trouble}")
        return tuple(faults)

    def _snapshot(self, now: float, state: str, why: str) -> Snapshot:
        return Snapshot(
            now, self._control.mode, state, why, self._setpoint, self._following.told_kw,
            self._sent_at, faults=self._faults(now),
        )  # fmt: skip

    def _put(
        self,
        now: float,
        seen: Seen | str,
        state: str,
        why: str,
        *,
        plan: Plan | None = None,
        override: Override | None = None,
        limits: Limits | None = None,
    ) -> Snapshot:
        snapshot = replace(self._snapshot(now, state, why), plan=plan, override=override)
        if isinstance(seen, Seen):
            snapshot = replace(
                snapshot, battery_kw=_known(seen.battery_kw), grid_kw=_known(seen.grid_kw),
                house_kw=_known(seen.grid_kw - seen.battery_kw), soc=_known(seen.soc),
                age_s=now - seen.oldest,
            )  # fmt: skip
        if limits is not None:
            snapshot = replace(
                snapshot, charge_kw=limits.charge_kw, discharge_kw=limits.discharge_kw,
                soc_min=limits.soc_min, soc_max=limits.soc_max,
            )  # fmt: skip
        self._record.put(snapshot)
        return snapshot


def _wrong_with(seen: Seen, now: float) -> str | None:
    """Why what is seen cannot be so, in words; None where it can."""
    if not all(map(math.isfinite, (seen.grid_kw, seen.battery_kw, seen.soc))):
        return "a reading is no number"
    if not -_SOC_BEYOND <= seen.soc <= 1.0 + _SOC_BEYOND:
        return f"a state of charge of {seen.soc:.0%}: see the unit in meters.yaml"
    ahead = max(seen.powers_at, seen.battery_at, seen.soc_at, seen.counted_to) - now
    if ahead > _AHEAD_S:
        return f"the newest readings are {ahead:.0f} s ahead of the clock: it was set back"
    return None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _in_words(wished: Wish, plan: Plan) -> str:
    """What the battery is for in this interval."""
    net = plan.net_kwh + wished.rest_kwh
    flow = net + wished.target_kwh - plan.bought_kwh + plan.sold_kwh
    if abs(wished.target_kwh) < 0.005:
        what = "the plan lets the battery rest"
    elif wished.target_kwh > 0:
        what = f"the plan charges {wished.target_kwh:.2f} kWh"
    else:
        what = f"the plan discharges {-wished.target_kwh:.2f} kWh"
    house = f"the house {'uses' if net >= 0 else 'spares'} {abs(net):.2f} kWh"
    rest = f"{'from' if flow >= 0 else 'to'} the grid {abs(flow):.2f} kWh"
    return f"{what}: {house}, {rest}"
