"""One battery, steered step by step: see, decide, act, and say why.

The controller knows no clock and no line of its own: it is told the time, sees by a ``Sight``, and
writes by an ``Adapter``. Whatever it does not understand, it hands the battery back for.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from fl_client.control.adapters.adapter import Adapter
from fl_client.control.following import Following, at_the_grid
from fl_client.control.law import Course, Wish, carried_on, wish
from fl_client.control.limits import Limits, Soc, SocWatch, confined
from fl_client.control.proof import FOLLOWS, IGNORES, WEAKER, Proof, Tally
from fl_client.control.record import (
    COMMAND,
    FOLLOW,
    HAND_BACK,
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
        self._following = Following(control)
        self._soc: SocWatch | None = None
        self._soc_seen: float | None = None
        self._course: _Course | None = None
        self._held = self._again = False
        self._setpoint: float | None = None
        self._sent_at: float | None = None
        self._handed_at = -math.inf
        self._taken: deque[float] = deque(maxlen=_TAKES)
        self._tries = 0
        self._pause_s = _PAUSE_S
        self._paused: tuple[float, Because] | None = None
        self._weaker: dict[int, tuple[float, float]] = {}  # by direction: (kW, until)
        self._about = ""
        self._last_told: tuple[str, float] | None = None  # SETPOINT or FOLLOW, kW
        self._as_before = 0
        # A process that was killed may have left the inverter under command.
        before = record.snapshot()
        self._owes = (
            control.mode == COMMAND
            and before is not None
            and before.mode == COMMAND
            and before.state == STEERING
        )
        if self._owes and before is not None:
            record.log(before.at, NOTE, "control had ended while it steered: the battery is handed "
                       "back first")  # fmt: skip

    # ---- one step -----------------------------------------------------------------------------

    def step(self, now: float) -> Snapshot:
        """Do what is to be done at ``now`` [s since 1970]; returns what was written down."""
        seen = self._sight.see(now)
        override = self._record.override(now)
        plan = self._plans()
        if isinstance(seen, Seen) and plan is not None:
            self._follow_soc(seen, plan[0])
            self._judge(now, seen, plan[0])
        because = self._because(now, seen, override, plan)
        if because is not None:
            return self._leave(now, seen, override, plan, because)
        assert isinstance(seen, Seen)
        assert plan is not None
        return self._steer(now, seen, *plan)

    def close(self, now: float) -> None:
        """End in good order: the battery is its inverter's again."""
        if self._held or self._owes:
            self._hand_back(now, "control ends")
        before = self._record.snapshot()
        if before is not None:
            why = "control does not run; the battery serves its own house"
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
        if control.mode == OBSERVE:
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
        if now - seen.oldest > control.stale_s:
            return Because("readings", f"the newest readings are {now - seen.oldest:.0f} s old")
        if self._paused is not None:
            if now < self._paused[0]:
                return self._paused[1]
            self._paused = None
        if self._soc is not None and self._soc.stuck:
            return Because("soc", f"the state of charge stands still at {seen.soc:.0%}")
        if plan is None:
            return Because("plan", "there is no plan yet")
        steering = plan[0]
        acts = now + control.deadtime_s
        if acts < steering.start or acts >= steering.end + _PLAN_LATE_S:
            return Because("plan", "the plan is not of this interval; is the coordinator there?")
        if not all(math.isfinite(value) for value in steering.plan):
            return Because("trader", f"the trader holds: {steering.reason or 'no reason given'}")
        if control.mode == COMMAND:
            assert self._adapter is not None
            if self._adapter.trouble:
                return self._unreachable()
            if self._owes:
                return Because("pause", "nobody knows what was commanded last: handed back first")
            if not self._held:
                if 0 <= now - self._handed_at < _RETAKE_S:
                    return Because("pause", "it was handed back a moment ago")
                if len(self._taken) == _TAKES and 0 <= now - self._taken[0] < _TAKES_S:
                    return Because("often", "it was taken too often in the last hour")
                if acts >= steering.end:
                    return Because("plan", "the plan of the next interval is still to come")
        return None

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
            self._record.log(now, NOTE, f"not steered: {because.words}")
            self._about = because.about
        if isinstance(seen, Seen):
            self._check_handed_back(now, seen)
        self._setpoint, self._course = None, None
        self._following.end()
        state = OVERRIDDEN if because.about in ("override", "switch") else OWN
        limits = None if plan is None else self._limits(now, plan[0])
        return self._put(now, seen, state, because.words, override=override, limits=limits)

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
        """Whether what was commanded is done."""
        if not self._held:
            return
        told_kw = self._following.told_kw
        if told_kw is not None:
            if self._following.fails(now, seen, steering.battery["power_kw"]):
                self._record.log(now, NOTE, f"told to keep {told_kw:.2f} kW at the grid, the meter "
                                 f"shows {seen.grid_kw:.2f} kW: setpoints for a while")  # fmt: skip
            return
        if self._tally.fails(seen.counted_to, lambda a, b: self._sight.counted(a, b)[1]):
            self._give_up(now, "its energy is not that of the commands")
            return
        verdict = self._proof.see(seen.battery_at, seen.battery_kw)
        if verdict == FOLLOWS and abs(seen.battery_kw) > _PROOF_KW:  # rest proves little
            self._tries, self._pause_s = 0, _PAUSE_S
        elif verdict == WEAKER:
            way = 1 if (self._setpoint or 0.0) > 0 else -1
            most = abs(seen.battery_kw)
            self._weaker[way] = (most, now + _WEAKER_S)
            doing = "charges" if way > 0 else "discharges"
            self._record.log(now, NOTE, f"the battery {doing} with no more than {most:.2f} kW")
        elif verdict == IGNORES:
            self._tries += 1
            told, shown = self._setpoint or 0.0, seen.battery_kw
            words = f"told {told:.2f} kW, the battery does {shown:.2f} kW"
            if self._tries >= _TRIES:
                self._give_up(now, words)
            else:
                self._record.log(now, NOTE, f"{words}: told again")
                self._again = True

    def _give_up(self, now: float, words: str) -> None:
        minutes = self._pause_s / 60
        because = Because("battery", f"the battery does not obey ({words}); tried again in "
                          f"{minutes:.0f} minutes")  # fmt: skip
        self._paused = (now + self._pause_s, because)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._tries = 0
        self._owes = True

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
        return now - seen.soc_at + alone_s + self._control.deadtime_s

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
            self._record.log(now, command, why, told_kw)
            self._told(now, kw, grid_kw)
            return
        assert self._adapter is not None
        try:
            if not self._held or self._again:
                self._taken.append(now)
                self._adapter.take()
                self._record.log(now, TAKE, why, sent=True)
                self._proof.begin(now)
                self._tally.begin(now)
                self._held, self._again = True, False
            if grid_kw is None:
                self._adapter.setpoint(kw)
            else:
                self._adapter.follow(grid_kw)
        except OSError as error:
            self._record.log(now, command, f"not sent: {error}", told_kw)
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
        self._record.log(now, command, why, told_kw, sent=True)
        self._told(now, kw, grid_kw)
        self._last_told = command, told_kw

    def _told(self, now: float, kw: float, grid_kw: float | None) -> None:
        self._setpoint, self._sent_at = kw, now
        if grid_kw is None:
            self._following.end()
        else:
            self._following.sent(now, grid_kw)

    def _hand_back(self, now: float, why: str) -> bool:
        """Give the battery back to its inverter; whether that was sent."""
        if self._control.mode != COMMAND or self._adapter is None:
            self._held = self._owes = False
            return True
        try:
            self._adapter.hand_back()
        except OSError as error:
            if not self._owes:
                self._record.log(now, HAND_BACK, f"{why}; not sent: {error}")
            self._held, self._owes, self._setpoint = False, True, None
            return False
        self._record.log(now, HAND_BACK, why, sent=True)
        self._held = self._again = self._owes = False
        self._setpoint, self._handed_at, self._as_before = None, now, 0
        return True

    def _check_handed_back(self, now: float, seen: Seen) -> None:
        """A hand-back that is ignored is repeated: the battery goes on as it was last told."""
        if self._last_told is None or now - self._handed_at < self._control.delay.settle_s(5.0) + 2:
            return
        command, told = self._last_told
        shown = seen.battery_kw if command == SETPOINT else seen.grid_kw
        serves = abs(seen.grid_kw) < 0.3
        if serves or abs(shown - told) > 0.05 or abs(told) < 0.1:
            self._last_told = None  # it goes its own way
            return
        self._as_before += 1
        if self._as_before >= 3 and now - self._handed_at >= _AGAIN_S:
            self._owes = True
            self._hand_back(now, "the battery goes on as it was told before: handed back again")

    # ---- saying so ----------------------------------------------------------------------------

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
        faults = [] if self._paused is None else [self._paused[1].words]
        if self._soc is not None and self._soc.stuck:
            faults.append("the state of charge stands still")
        faults += [
            f"{'charges' if way > 0 else 'discharges'} with no more than {kw:.2f} kW"
            for way, (kw, until) in self._weaker.items()
            if now < until
        ]
        if self._adapter is not None and self._adapter.trouble:
            faults.append(f"cannot be reached: {self._adapter.trouble}")
        snapshot = Snapshot(
            now, self._control.mode, state, why, self._setpoint, self._following.told_kw,
            self._sent_at, plan=plan, override=override, faults=tuple(faults),
        )  # fmt: skip
        if isinstance(seen, Seen):
            snapshot = replace(
                snapshot, battery_kw=seen.battery_kw, grid_kw=seen.grid_kw, soc=seen.soc,
                house_kw=seen.grid_kw - seen.battery_kw, age_s=now - seen.oldest,
            )  # fmt: skip
        if limits is not None:
            snapshot = replace(
                snapshot, charge_kw=limits.charge_kw, discharge_kw=limits.discharge_kw,
                soc_min=limits.soc_min, soc_max=limits.soc_max,
            )  # fmt: skip
        self._record.put(snapshot)
        return snapshot


def _known(price: float) -> float | None:
    return price if math.isfinite(price) else None


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
