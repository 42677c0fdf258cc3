//! What an engine is like: its speeds and its room, as plain numbers, and presets for them.
//!
//! Knows nothing of configs or of how a number was spelt there. Whoever fills this in has checked it; the engine
//! stays sane (no division by zero, no endless loop) with any numbers, but does not promise that they mean anything.

use crate::domain::{ContactWindow, Duration, EnginePrior, Grants, Lease};

/// One endpoint's engine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Settings {
    /// An engine that we look into: batch, KV room, queue.
    Batching(Batching),
    /// A provider seen from outside: what it does with the load is its own affair.
    Opaque(Opaque),
}

/// An engine with continuous batching.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Batching {
    /// How fast.
    pub speed: Speed,
    /// Sequences decoded at once at most; at least 1.
    pub max_batch: u32,
    /// Tokens of keys and values it has room for. A job holds input and output of all its sequences from admission
    /// to end; what is left keeps prefixes.
    pub kv_tokens: u64,
    /// Jobs that may wait for admission; the next one is turned away.
    pub queue: u32,
    /// Keep prefixes for later jobs.
    pub prefix_cache: bool,
    /// What it draws.
    pub power: Power,
}

/// The timing of an engine in seconds.
///
/// A prompt takes `max(floor, a + b*w)`, where `w` counts its uncached tokens, twice those that come after the first
/// `knee` of the prompt. A decode step with `B` sequences takes `t0 + t1*B`. How far that is from what was measured:
/// docs/calibration.md.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Speed {
    /// Seconds of the shortest prefill: one pass over the weights, however few tokens it is for.
    pub prefill_floor_s: f64,
    /// `a`: seconds per prompt.
    pub prefill_base_s: f64,
    /// `b`: seconds per uncached token.
    pub prefill_token_s: f64,
    /// Where tokens begin to cost twice as much. In the measurements the cost per token jumps there rather than growing
    /// with the length as attention would make it; so no square, which would charge ten times too much at 100,000.
    pub prefill_knee: u32,
    /// `t0`: seconds per decode step.
    pub step_base_s: f64,
    /// `t1`: seconds per decode step and sequence.
    pub step_seq_s: f64,
    /// How many times as long a decode step takes while a prompt is prefilled; at least 1.
    pub interference: f64,
}

/// Power of all accelerators of an endpoint, in watts.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Power {
    /// Nothing to do.
    pub idle_w: f64,
    /// Decoding only.
    pub decode_w: f64,
    /// Prefilling.
    pub prefill_w: f64,
}

/// A provider seen from outside.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Opaque {
    /// Median seconds to the first token of a short prompt.
    pub ttft_median_s: f64,
    /// Standard deviation of the logarithm of it (log-normal); 0 is always the median.
    pub ttft_sigma: f64,
    /// Further seconds per input token.
    pub prefill_token_s: f64,
    /// Seconds per output token after the first.
    pub tpot_s: f64,
    /// Jobs at once at most; the next one is turned away.
    pub max_jobs: u32,
}

/// How far tensor-parallel decoding is slowed while a prompt is prefilled. Not in the measurements behind the presets
/// (they prefill and decode one after the other); 2 is what sharing a step with a chunk of about 512 prompt tokens
/// costs there: a chunk takes as long again as a decode step.
const INTERFERENCE: f64 = 2.0;

/// What a token after the knee costs, in tokens before it: 2.0 fits the four measured engines best together.
const AFTER_KNEE: f64 = 2.0;

/// Beyond 64 sequences nothing was measured.
const MAX_BATCH: u32 = 64;

/// Two full batches: a longer wait than that is better spent elsewhere.
const QUEUE: u32 = 128;

/// GPUs draw about 15 % of their board power when idle; not in the measurements.
const IDLE: f64 = 0.15;

impl Power {
    /// Shares of the board power of eight accelerators. Measured on A100 for llama2-70b: 0.43 on average over a run
    /// that is nearly all decoding, a peak of 1.0 in prefill. For H100 no power was measured; the shares are taken over.
    const fn of_eight(board_w: f64, decode: f64, prefill: f64) -> Self {
        let all = 8.0 * board_w;
        Self { idle_w: all * IDLE, decode_w: all * decode, prefill_w: all * prefill }
    }
}

impl Settings {
    /// The presets by name.
    pub const PRESETS: [(&'static str, Self); 6] = [
        ("h100", Self::H100),
        ("a100", Self::A100),
        ("h100-bloom", Self::H100_BLOOM),
        ("a100-bloom", Self::A100_BLOOM),
        ("cloud", Self::CLOUD),
        ("embedder", Self::EMBEDDER),
    ];

    /// The preset of that name.
    pub fn preset(name: &str) -> Option<Self> {
        Self::PRESETS.into_iter().find(|(n, _)| *n == name).map(|(_, s)| s)
    }

    // The measured presets: coefficients that minimise the squares of relative errors against the medians of the Splitwise
    // measurements (Patel et al., ISCA 2024; github.com/Mutinifni/splitwise-sim, tensor parallelism 8): prefill over
    // prompts of 128 to 8192 tokens at batch 1, decode over those and over batches of 1 to 64 at prompts of 512 tokens.
    // A test fits them anew. The KV room is what 90 % of 8 x 80 GB leaves after 16-bit weights: llama2-70b needs 320 KiB
    // a token (80 layers, 8 KV heads of 128), bloom-176b 3.8 MiB (70 layers, no grouping).

    /// llama2-70b on eight H100.
    pub const H100: Self = Self::Batching(Batching {
        speed: Speed {
            prefill_floor_s: 0.05414,
            prefill_base_s: 0.01754,
            prefill_token_s: 5.885e-5,
            prefill_knee: 2048,
            step_base_s: 0.02976,
            step_seq_s: 3.056e-4,
            interference: INTERFERENCE,
        },
        max_batch: MAX_BATCH,
        kv_tokens: 1_300_000,
        queue: QUEUE,
        prefix_cache: true,
        power: Power::of_eight(700.0, 0.43, 1.0),
    });

    /// llama2-70b on eight A100.
    pub const A100: Self = Self::Batching(Batching {
        speed: Speed {
            prefill_floor_s: 0.06604,
            prefill_base_s: 0.0344,
            prefill_token_s: 1.174e-4,
            prefill_knee: 3072,
            step_base_s: 0.04421,
            step_seq_s: 3.791e-4,
            interference: INTERFERENCE,
        },
        max_batch: MAX_BATCH,
        kv_tokens: 1_300_000,
        queue: QUEUE,
        prefix_cache: true,
        power: Power::of_eight(400.0, 0.43, 1.0),
    });

    /// bloom-176b on eight H100.
    pub const H100_BLOOM: Self = Self::Batching(Batching {
        speed: Speed {
            prefill_floor_s: 0.04828,
            prefill_base_s: 0.02279,
            prefill_token_s: 1.077e-4,
            prefill_knee: 2048,
            step_base_s: 0.03568,
            step_seq_s: 3.914e-4,
            interference: INTERFERENCE,
        },
        max_batch: MAX_BATCH,
        kv_tokens: 55_000,
        queue: QUEUE,
        prefix_cache: true,
        power: Power::of_eight(700.0, 0.63, 1.0),
    });

    /// bloom-176b on eight A100.
    pub const A100_BLOOM: Self = Self::Batching(Batching {
        speed: Speed {
            prefill_floor_s: 0.07967,
            prefill_base_s: 0.03437,
            prefill_token_s: 2.57e-4,
            prefill_knee: 3072,
            step_base_s: 0.04813,
            step_seq_s: 6.694e-4,
            interference: INTERFERENCE,
        },
        max_batch: MAX_BATCH,
        kv_tokens: 55_000,
        queue: QUEUE,
        prefix_cache: true,
        power: Power::of_eight(400.0, 0.63, 1.0),
    });

    /// A provider: a median of 0.4 s to the first token with a long tail, 80 tokens a second. Round numbers of our own,
    /// not anybody's measured service.
    pub const CLOUD: Self = Self::Opaque(Opaque {
        ttft_median_s: 0.4,
        ttft_sigma: 0.45,
        prefill_token_s: 2.0e-5,
        tpot_s: 0.0125,
        max_jobs: 1000,
    });

    /// A small encoder on one accelerator: 5 ms and 10 µs a token, one batch after the other. Round numbers of our own.
    pub const EMBEDDER: Self = Self::Batching(Batching {
        speed: Speed {
            prefill_floor_s: 0.0,
            prefill_base_s: 0.005,
            prefill_token_s: 1.0e-5,
            prefill_knee: u32::MAX,
            step_base_s: 0.005,
            step_seq_s: 0.0,
            interference: 1.0,
        },
        max_batch: MAX_BATCH,
        kv_tokens: 2_000_000,
        queue: 512,
        prefix_cache: false,
        power: Power { idle_w: 60.0, decode_w: 250.0, prefill_w: 300.0 },
    });

    /// The same of many, on average: what one of them does as far as anybody knows.
    pub fn mean_prior(engines: &[Self]) -> EnginePrior {
        let n = engines.len();
        if n == 0 {
            return EnginePrior::default();
        }
        let priors: Vec<EnginePrior> = engines.iter().map(Self::prior).collect();
        let mean = |of: fn(&EnginePrior) -> f64| priors.iter().map(of).sum::<f64>() / n as f64;
        EnginePrior {
            ttft_base_s: mean(|p| p.ttft_base_s),
            prefill_s_per_token: mean(|p| p.prefill_s_per_token),
            prefill_s_per_pair: mean(|p| p.prefill_s_per_pair),
            prefill_square_to: priors.iter().map(|p| p.prefill_square_to).min().unwrap_or(u32::MAX),
            tpot_s: mean(|p| p.tpot_s),
            slots: (mean(|p| f64::from(p.slots)).round() as u32).max(1),
            kv_tokens: mean(|p| p.kv_tokens as f64).round() as u64,
        }
    }

    /// What a router may assume of such an endpoint before it has measured anything. Its prefill is a parabola that
    /// meets ours at no tokens and at four knees: within a fifth of it for any prompt beyond the floor.
    pub fn prior(&self) -> EnginePrior {
        match self {
            Self::Batching(b) => EnginePrior {
                ttft_base_s: b.speed.prefill_base_s,
                prefill_s_per_token: b.speed.prefill_token_s,
                prefill_s_per_pair: b.speed.pair_s(),
                prefill_square_to: b.speed.parabola_to(),
                tpot_s: b.speed.step_s(1),
                slots: b.max_batch,
                kv_tokens: if b.prefix_cache { b.kv_tokens } else { 0 },
            },
            Self::Opaque(o) => EnginePrior {
                ttft_base_s: o.ttft_median_s,
                prefill_s_per_token: o.prefill_token_s,
                prefill_s_per_pair: 0.0,
                prefill_square_to: u32::MAX,
                tpot_s: o.tpot_s,
                slots: o.max_jobs,
                kv_tokens: EnginePrior::default().kv_tokens,
            },
        }
    }
}

impl Speed {
    /// Seconds of prefill for a prompt of `n` tokens of which `uncached` must be computed.
    pub fn prefill_s(&self, n: u32, uncached: u32) -> f64 {
        let work = self.work_s(n) - self.work_s(n - uncached.min(n));
        (self.prefill_base_s + work).max(self.prefill_floor_s)
    }

    /// The same without the floor: never more, and a sum over the parts of a prompt.
    pub fn prefill_at_least_s(&self, n: u32, uncached: u32) -> f64 {
        self.prefill_base_s + self.work_s(n) - self.work_s(n - uncached.min(n))
    }

    /// Seconds of one decode step with `batch` sequences, undisturbed.
    pub fn step_s(&self, batch: u32) -> f64 {
        self.step_base_s + self.step_seq_s * f64::from(batch)
    }

    /// Up to where [`Settings::prior`] has a parabola.
    fn parabola_to(&self) -> u32 {
        self.prefill_knee.saturating_mul(4).max(1)
    }

    /// The square part of that parabola, seconds per token and token before it.
    fn pair_s(&self) -> f64 {
        let to = self.parabola_to();
        ((self.work_s(to) / f64::from(to) - self.prefill_token_s) / f64::from(to)).max(0.0)
    }

    /// Seconds for the first `n` tokens of a prompt without the fixed part.
    fn work_s(&self, n: u32) -> f64 {
        let after = n.saturating_sub(self.prefill_knee);
        self.prefill_token_s * (f64::from(n) + (AFTER_KNEE - 1.0) * f64::from(after))
    }
}

/// The way to a pool and what goes wrong there: the same for its HTTP mock, its simulated upstream and the simulator.
#[derive(Clone, PartialEq, Debug)]
pub struct Door {
    /// One way; a request pays it going in and every answer coming out.
    pub delay: Duration,
    /// When the pool can be reached; absent is always.
    pub contact: Option<ContactWindow>,
    /// When its machines are there; absent is for good.
    pub lease: Option<Lease>,
    /// Refuse every connection.
    pub refuse: bool,
    /// What it keeps to; beyond it a request gets a 429.
    pub grants: Grants,
    /// Share of requests (0 to 1) that get `error_status` instead of an answer.
    pub error_rate: f64,
    /// The status of these errors.
    pub error_status: u16,
    /// Share of requests (0 to 1) whose answer is cut off after `truncate_after` tokens.
    pub truncate_rate: f64,
    /// Tokens before the cut.
    pub truncate_after: u32,
    /// Share of requests (0 to 1) whose answer goes silent for good after `stall_after` tokens.
    pub stall_rate: f64,
    /// Tokens before the silence.
    pub stall_after: u32,
}

impl Default for Door {
    /// A perfect pool next door.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            contact: None,
            lease: None,
            refuse: false,
            grants: Grants::default(),
            error_rate: 0.0,
            error_status: 500,
            truncate_rate: 0.0,
            truncate_after: 20,
            stall_rate: 0.0,
            stall_after: 20,
        }
    }
}
