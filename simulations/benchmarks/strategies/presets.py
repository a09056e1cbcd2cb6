"""The grids that ship: what ``--quick`` and the full benchmark compare when nothing is named."""

from collections.abc import Mapping

# The table's strategies, as ``--strategies`` takes them.
STRATEGIES = (
    "fedavg,fedavgm,fedadam,fedyogi,fedadagrad,fedprox,fednova,scaffold,qfedavg,"
    "fedmedian,fedtrimmedavg,krum,multikrum,bulyan,geometric-median,centred-clipping,"
    "fedper,fedrep,ditto,clustered,fine-tuned,fedasync,fedbuff"
)
QUICK_STRATEGIES = "fedavg,fedprox,scaffold,fedadam,fedper,multikrum"
DEFENCES = "fedavg,fedmedian,fedtrimmedavg,krum,multikrum,bulyan,geometric-median,centred-clipping"

BY_SHARES = ("alie", "inner-product", "min-max", "hour-low")

Values = Mapping[str, object]

CLEAN: dict[str, Values] = {"clean": {}}
QUICK_DIALS: dict[str, Values] = {
    "clean": {},
    "int8": {"compression": "int8"},
    "collude-20": {"attack": "collude", "attackers": 0.2},
}
DIALS: dict[str, Values] = {
    "clean": {},
    "volume-skew": {"volume_skew": 1.5},
    "mix": {"size_spread": 0.7, "ev_share": 0.4, "pv_share": 0.4},
    "drift": {"drift_share": 0.5},
    "part-30": {"participation": 0.3},
    "stragglers": {"stragglers": 0.5},
    "dropouts": {"dropouts": 0.3},
}
ATTACKS: dict[str, Values] = {
    "clean": {},
    **{
        f"{kind}-{share}": {"attack": kind, "attackers": share / 100}
        for kind in BY_SHARES
        for share in (10, 20, 40)
    },
    **{
        f"{kind}-20": {"attack": kind, "attackers": 0.2}
        for kind in ("sign-flip", "collude", "noise", "label-poison", "nan", "free-rider")
    },
}
COMPRESSIONS: dict[str, Values] = {
    "clean": {},
    "bfloat16": {"compression": "bfloat16"},
    "int8": {"compression": "int8"},
    "top-k-10": {"compression": "top-k:0.1"},
    "top-k-5-int8": {"compression": "top-k:0.05+int8"},
    "int8-both-ways": {"compression": "int8", "compression_down": "int8"},
    "top-k-10-int8-both-ways": {
        "compression": "top-k:0.1+int8",
        "compression_down": "top-k:0.1+int8",
    },
    "top-k-5-int8-both-ways": {
        "compression": "top-k:0.05+int8",
        "compression_down": "top-k:0.05+int8",
    },
}
PRIVACIES: dict[str, Values] = {
    "clean": {},
    **{
        f"dp-noise-{noise:g}": {"privacy_clip": 0.3, "privacy_noise": noise}
        for noise in (0.0, 0.3, 1.0, 3.0)
    },
}

_SLOW: Values = {"stragglers": 0.2, "straggler_work": 0.1}
_LATE: Values = {**_SLOW, "stragglers_finish": True}
CLOCKS: dict[str, Values] = {
    "clean": {},
    "unequal": {"step_spread": 0.7, "line_spread": 0.7, "unsteadiness": 0.3},
    "slow-fifth": _LATE,
    "slow-fifth-partial": _SLOW,
    "slow-fifth-deadline": {**_LATE, "round_s": 8.0},
    "slow-fifth-wait-80": {**_LATE, "wait_share": 0.8},
}
NEWCOMERS: dict[str, Values] = {
    "clean": {},
    **{f"newcomers-{d}d": {"newcomer_share": 0.4, "newcomer_days": d} for d in (1, 3, 7, 14)},
}

PARTS: dict[str, tuple[str, dict[str, Values]]] = {
    "table": (STRATEGIES, CLEAN),
    "dials": ("fedavg,fedprox,fednova,scaffold,fedper", DIALS),
    "attacks": (DEFENCES, ATTACKS),
    "compression": ("fedavg", COMPRESSIONS),
    "privacy": ("fedavg", PRIVACIES),
    "clock": ("fedavg,fedprox,fednova,fedasync,fedbuff", CLOCKS),
    "newcomers": ("fedavg,fedprox,fedper,ditto,fine-tuned", NEWCOMERS),
}
"""Part -> its strategies and dials; together they are the full benchmark."""
