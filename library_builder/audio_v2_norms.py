"""Mean and spread of each figure of `voice_shape.SHAPES` over real speech, as `audio_norms` has them of the others.

Taken once over 5079 recordings, each corpus weighted as a whole: RAVDESS (acted English, weight 0.4), nEMO (acted
Polish, 0.3), CMU ARCTIC prompts read by one woman (0.15) and GRID (0.15). No label took part. The numbers belong to the
name of the space: others make another space.
"""

from __future__ import annotations

SHAPE: dict[str, tuple[float, float]] = {
    "f0_low": (-3.6872, 2.1685),
    "f0_high": (4.9457, 3.4027),
    "f0_skew": (0.15794, 1.1602),
    "f0_kurtosis": (1.5914, 4.1204),
    "f0_arc_1": (1.0533, 1.1758),
    "f0_arc_2": (0.25653, 1.0071),
    "f0_arc_3": (0.12654, 0.76157),
    "f0_arc_4": (0.055937, 0.73862),
    "f0_rise": (17.851, 12.726),
    "f0_fall": (-32.808, 13.538),
    "f0_run_slope": (-4.7864, 14.107),
    "f0_run_range": (3.444, 1.7136),
    "f0_bend": (-0.0013739, 0.93073),
    "f0_reset": (0.24479, 1.9217),
    "breaks": (0.19435, 0.1714),
    "hnr_p10": (3.5639, 1.1499),
    "hnr_p90": (16.318, 2.8215),
    "jitter_p90": (-0.47476, 0.25648),
    "shimmer_p90": (0.52254, 0.1363),
    "level_arc_1": (0.75604, 1.5728),
    "level_arc_2": (-1.3841, 1.8568),
    "level_arc_3": (0.24608, 1.4088),
    "level_kurtosis": (-0.62673, 0.59937),
    "stress": (5.5058, 2.9997),
    "f0_level": (0.15775, 0.32524),
    "f0_balance": (0.13947, 0.2583),
    "level_balance": (0.034204, 0.28039),
    "h1_a3": (25.117, 6.3808),
    "balance_p10": (-25.875, 5.1075),
    "balance_p90": (-6.8018, 4.67),
    "balance_slope": (-1.7256, 3.9329),
    "span": (0.80109, 0.31126),
    "band_std_1": (6.2129, 3.2932),
    "band_std_3": (6.5924, 1.2115),
    "band_std_5": (8.632, 1.5314),
    "band_std_7": (9.563, 1.5085),
    "band_std_9": (9.5101, 1.4296),
    "band_std_11": (9.592, 1.7779),
    "band_std_13": (11.154, 1.9947),
    "band_std_15": (13.402, 2.2927),
    "mfcc_travel_1": (6.1979, 1.0587),
    "mfcc_travel_2": (4.7799, 0.78508),
    "mfcc_travel_3": (3.865, 0.50513),
    "mfcc_travel_4": (3.4761, 0.46587),
    "mfcc_std_5": (8.4526, 1.9221),
    "mfcc_std_6": (8.2126, 1.7211),
    "mfcc_std_7": (7.3632, 1.4447),
    "mfcc_std_8": (6.44, 1.4355),
}
"""Per figure: mean, standard deviation."""
