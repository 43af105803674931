"""What faces do over time: events of action units with onset, apex and offset, blinks, speech.

Intensities are 0-5 (FACS A-E), one series a unit and side. Durations follow the range that is reported for
spontaneous expressions, 0.2 to 2 s a phase (Ekman & Rosenberg, What the Face Reveals, 2005); combinations are
those that the FACS manual and DISFA (Mavadati et al. 2013) list as common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mien_render.actions import RENDERED_UNITS, UNIT_NUMBERS
from mien_render.arrays import Floats

COMBINATIONS = (
    (1, 2), (1, 2, 5), (1, 4), (1, 4, 15), (4, 7), (4, 9), (4, 23), (6, 12), (6, 12, 25), (6, 7, 12),
    (12, 14), (12, 25), (9, 10), (10, 25), (15, 17), (17, 24), (20, 25), (22, 25), (25, 26), (25, 27),
)  # fmt: skip

_CONFLICTS = (
    (5, 43), (17, 26), (17, 27), (20, 22), (12, 22), (22, 24), (22, 27), (22, 23), (23, 25), (23, 26),
    (23, 27), (24, 25), (24, 26), (24, 27), (26, 27), (10, 24),
)  # fmt: skip
"""Pairs that muscles or the coding rules keep apart; the later of two such events is moved or left out."""

DISFA_LIKE_RATES = {
    "1": 0.06, "2": 0.05, "4": 0.12, "5": 0.03, "6": 0.1, "7": 0.06, "9": 0.04, "10": 0.04, "12": 0.15,
    "14": 0.04, "15": 0.04, "17": 0.06, "20": 0.03, "22": 0.03, "23": 0.03, "24": 0.03, "25": 0.2,
    "26": 0.12, "27": 0.02, "43": 0.03,
}  # fmt: skip


@dataclass(frozen=True)
class MotionSettings:
    """How often and how fast. A base rate is the share of frames where a unit is at or above `occurs_at`."""

    base_rates: Mapping[str, float] = field(default_factory=lambda: dict(DISFA_LIKE_RATES))
    occurs_at: float = 2.0  # FACS B, as DISFA's own evaluations count
    together_share: float = 0.5  # of a unit's time that it spends in combinations
    onset_seconds: tuple[float, float] = (0.2, 0.7)
    apex_seconds: tuple[float, float] = (0.2, 2.0)
    offset_seconds: tuple[float, float] = (0.25, 1.0)
    peak_intensity: tuple[float, float] = (1.2, 5.0)
    unilateral_share: float = 0.12
    blinks_per_minute: float = 14.0
    speech_share: float = 0.25  # of clips in which the person speaks
    still_share: float = 0.08  # of clips without any event but blinks

    def __post_init__(self) -> None:
        known = {str(unit) for unit in UNIT_NUMBERS}
        odd = sorted(set(self.base_rates) - known)
        if odd:
            raise ValueError(
                f"base_rates: unit {', '.join(odd)} is not drawn; drawn: {', '.join(sorted(known))}"
            )
        if not all(0 <= rate < 0.9 for rate in self.base_rates.values()):
            raise ValueError("base_rates: a rate is a share of frames, 0 to 0.9")

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """Shortest and longest onset, apex and offset, in seconds."""
        return self.onset_seconds, self.apex_seconds, self.offset_seconds


@dataclass(frozen=True)
class Event:
    """Some units at once: when it starts, its phases in seconds, the peak of every unit (left, right)."""

    start: float
    onset: float
    apex: float
    offset: float
    peaks: dict[int, tuple[float, float]]

    @property
    def end(self) -> float:
        """When all is over, in seconds."""
        return self.start + self.onset + self.apex + self.offset

    def envelope(self, seconds_T: NDArray[np.floating]) -> NDArray[np.floating]:
        """0 before, a smooth rise, 1, a smooth fall, 0 after."""
        rise = np.clip((seconds_T - self.start) / self.onset, 0, 1)
        fall = np.clip((self.end - seconds_T) / self.offset, 0, 1)
        height: NDArray[np.floating] = np.minimum(rise, fall)
        smooth: NDArray[np.floating] = height * height * (3 - 2 * height)
        return smooth


def draw_motion(
    random: np.random.Generator, settings: MotionSettings, *, num_frames: int, frames_per_second: float
) -> Floats:
    """Driving intensities (T, A, 2) of one clip, rounded to 1/1000 so that they are the same everywhere."""
    seconds_T = np.arange(num_frames) / frames_per_second
    duration = num_frames / frames_per_second
    events: list[Event] = []
    if random.uniform() >= settings.still_share:
        if random.uniform() < settings.speech_share:
            events.extend(_speech(random, duration))
        events.extend(_expressions(random, settings, duration, events))
    events.extend(_blinks(random, settings, duration))
    intensity_TA2 = np.zeros((num_frames, len(UNIT_NUMBERS), 2))
    for event in events:
        height_T = event.envelope(seconds_T)
        for unit, (left, right) in event.peaks.items():
            at = UNIT_NUMBERS.index(unit)
            series_T2 = height_T[:, None] * np.array([left, right])
            intensity_TA2[:, at] = np.maximum(intensity_TA2[:, at], series_T2)
    return np.round(np.clip(intensity_TA2, 0, 5), 3).astype(np.float32)


def event_rates(settings: MotionSettings) -> dict[tuple[int, ...], float]:
    """Share of time of every single unit and combination, so that each unit reaches its base rate.

    A combination gets the smallest of its units' shares; a unit splits `together_share` of its base rate
    evenly over the combinations it is in, and is alone for what is left.
    """
    base = {int(unit): rate for unit, rate in settings.base_rates.items()}
    member_of = {unit: sum(unit in combination for combination in COMBINATIONS) for unit in base}
    rates: dict[tuple[int, ...], float] = {}
    for combination in COMBINATIONS:
        if all(base.get(unit, 0) > 0 for unit in combination):
            rates[combination] = settings.together_share * min(base[u] / member_of[u] for u in combination)
    for unit, rate in base.items():
        rates[(unit,)] = rate - sum(share for units, share in rates.items() if unit in units)
    return rates


def _expressions(
    random: np.random.Generator, settings: MotionSettings, duration: float, taken: list[Event]
) -> list[Event]:
    mean_phases = [sum(phase) / 2 for phase in settings.phases]
    low, high = settings.peak_intensity
    # Peaks are varied, to 0.9 on average.
    reaches = min(1.0, (high - settings.occurs_at / 0.9) / (high - low))
    moved = mean_phases[1] + 0.3 * (mean_phases[0] + mean_phases[2])
    occurring = reaches * moved * (1 - settings.still_share)
    wanted: list[tuple[int, ...]] = []
    for units, share in event_rates(settings).items():
        wanted.extend([units] * int(random.poisson(share * (duration + sum(mean_phases)) / occurring)))
    random.shuffle(wanted)
    events: list[Event] = []
    for units in wanted:
        for _ in range(6):
            event = _event(random, settings, duration, units)
            if not any(_conflict(event, other) for other in (*events, *taken)):
                events.append(event)
                break
    return events


def _event(
    random: np.random.Generator, settings: MotionSettings, duration: float, units: tuple[int, ...]
) -> Event:
    onset, apex, offset = (float(random.uniform(*phase)) for phase in settings.phases)
    peak = random.uniform(*settings.peak_intensity)
    one_sided = random.uniform() < settings.unilateral_share
    side = int(random.integers(2))
    peaks = {}
    for unit in units:
        both = np.clip(peak * random.uniform(0.75, 1.15) * random.uniform(0.88, 1, 2), 0.3, 5)
        if one_sided and RENDERED_UNITS[unit].unilateral:
            both[side] *= random.uniform(0, 0.15)
        elif not RENDERED_UNITS[unit].unilateral:
            both[:] = both.max()
        peaks[unit] = (float(both[0]), float(both[1]))
    start = float(random.uniform(-(onset + apex + offset), duration))
    return Event(start, onset, apex, offset, peaks)


def _conflict(event: Event, other: Event) -> bool:
    if event.end <= other.start or other.end <= event.start:
        return False
    return any(
        (a in event.peaks and b in other.peaks) or (b in event.peaks and a in other.peaks)
        for a, b in _CONFLICTS
    )


def _blinks(random: np.random.Generator, settings: MotionSettings, duration: float) -> list[Event]:
    if not settings.blinks_per_minute:
        return []
    events, pause = [], 60 / settings.blinks_per_minute
    at = float(random.exponential(pause))
    while at < duration:
        peak = 5.0 if random.uniform() < 0.85 else float(random.uniform(2.5, 4.5))
        onset, offset = float(random.uniform(0.08, 0.13)), float(random.uniform(0.12, 0.22))
        events.append(Event(at, onset, 0.04, offset, {45: (peak, peak)}))
        at += 0.5 + float(random.exponential(pause))
    return events


def _speech(random: np.random.Generator, duration: float) -> list[Event]:
    """Syllables, three to six a second, for one to four seconds: jaw, lips apart, some funnel or stretch."""
    at = float(random.uniform(0, max(duration - 1, 0.1)))
    end = at + float(random.uniform(1, 4))
    events = []
    while at < min(end, duration):
        length = float(random.uniform(0.16, 0.34))
        opening = float(random.uniform(0.4, 3.6))
        apart = min(opening + 0.8, 5.0)
        peaks = {26: (opening, opening), 25: (apart, apart)}
        if random.uniform() < 0.25:
            rounding = float(random.uniform(0.5, 2.5))
            peaks[22 if random.uniform() < 0.6 else 20] = (rounding, rounding)
        events.append(Event(at, 0.45 * length, 0.1 * length, 0.55 * length, peaks))
        at += length * float(random.uniform(0.8, 1.1))
    return events
