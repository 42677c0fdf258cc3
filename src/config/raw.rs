//! What a config file says, before anybody asks what it means. One record a table; the text of a record is also its
//! documentation in the JSON Schema.

use std::time::Duration;

use super::read::{At, record, words};
use super::secret::Reference;
use super::values::{Amount, Bytes, Name, Share, UtcOffset, Within};
use crate::domain::Timestamp;
use crate::upstream::openai::Flavour;

mod grants;
mod records;
mod simulate;
mod supply;
pub(crate) use grants::{Budget, Grants, Growth, Quota};
pub(crate) use records::Records;
pub(crate) use simulate::{Simulate, SimulateEvent};
pub(crate) use supply::{Day, Lease, OfferHours, Power};

record! {
    /// A Gridtie config.
    File as "" {
        /// Where the router listens.
        listen: Option<Listen>,
        /// Who may ask. Without it everybody may, and then every listener for data must be on loopback.
        auth: Option<Auth>,
        /// How a pool is chosen.
        routing: Option<Routing>,
        /// What is the most that one caller may ask of the router itself.
        limits: Option<Limits>,
        /// What is logged, and how.
        log: Option<Log>,
        /// Decisions on record, to be explained and made again.
        records: Option<Records>,
        /// How the router goes down.
        shutdown: Option<Shutdown>,
        /// Kinds of traffic. Without any there are three: interactive, agent and background.
        class: Option<Vec<Class>>,
        /// Names that clients ask for.
        model: Vec<Model>,
        /// Capacity, each under one contract.
        pool: Vec<Pool>,
        /// What `gridtie simulate` plays on it.
        simulate: Option<Simulate>,
    }
}

record! {
    /// Where the router listens. "off" closes a listener.
    Listen as "listen" {
        /// The gRPC face; default 127.0.0.1:50051.
        grpc: Option<At<String>>,
        /// The HTTP face, OpenAI-compatible; default 127.0.0.1:8080.
        http: Option<At<String>>,
        /// The admin listener: readiness, metrics, console; default 127.0.0.1:9901.
        admin: Option<At<String>>,
        /// Offer gRPC reflection on the grpc listener; default false, because it tells strangers what there is.
        reflection: Option<bool>,
        /// TLS for grpc and http.
        tls: Option<Tls>,
        /// TLS for admin.
        admin_tls: Option<Tls>,
    }
}

record! {
    /// A server's TLS identity.
    Tls as "tls" {
        /// The certificate chain, PEM.
        cert: At<Reference>,
        /// The private key, PEM.
        key: At<Reference>,
        /// Roots of clients; when given, a client must show a certificate.
        client_ca: Option<At<Reference>>,
    }
}

record! {
    /// Who may ask.
    Auth as "auth" {
        /// What admin callers that are not on loopback must show.
        admin_token: Option<At<Reference>>,
        /// Clients.
        key: Vec<ClientKey>,
    }
}

record! {
    /// A client's key, as `gridtie key new` prints it.
    ClientKey as "auth.key" {
        /// Whose it is.
        tenant: Name,
        /// SHA-256 of the key: `sha256:` and 64 hex digits. The key itself is nowhere.
        hash: At<String>,
        /// The beginning of the key, to tell keys apart in logs.
        prefix: Option<String>,
    }
}

words! {
    /// A policy.
    Policy as "policy" {
        /// By money: prices, scarcity, misses, delay and risk in dollars.
        Price = "price",
        /// By each pool's `order`.
        Ordered = "ordered",
        /// By each pool's `weight`.
        Weighted = "weighted",
    }
}

record! {
    /// How a pool is chosen, and how long is waited.
    Routing as "routing" {
        /// By money (`price`, default), or in a fixed order, or by weights.
        policy: Option<Policy>,
        /// The class of calls that name none; default the first class.
        default_class: Option<At<Name>>,
        /// A first token is waited for at least this long before the try is given up; default 2s.
        first_token_min: Option<At<Duration>>,
        /// Silence of this length after the first token is a stall; default 30s.
        idle: Option<At<Duration>>,
        /// Any call waits this long for capacity; only classes that may wait wait longer; default 2s.
        short_wait: Option<At<Duration>>,
        /// A session that was quiet for this long is cold; default 5m.
        session: Option<At<Duration>>,
        /// What own capacity is worth.
        own: Option<Own>,
        /// When pools and endpoints are left alone, and how they come back.
        health: Option<Health>,
        /// How much retries may add.
        retry: Option<Retry>,
    }
}

record! {
    /// What own capacity is worth: at the set points below, exactly what it saves at the providers.
    Own as "routing.own" {
        /// Share of the decode slots in use up to which owned capacity is preferred to what it saves; default 0.85.
        fill: Option<Share>,
        /// Queued prefill up to which the same holds; default 300ms.
        backlog: Option<At<Duration>>,
    }
}

record! {
    /// When pools and endpoints are left alone, and how they come back.
    Health as "routing.health" {
        /// Failures in a row of any unhealthy kind that eject; default 5.
        failures: Option<At<u32>>,
        /// Failures in a row at our own socket that eject; default 3.
        local_failures: Option<At<u32>>,
        /// A success ratio below this over the last 10 s ejects; default 0.8.
        success_ratio: Option<Share>,
        /// The first ejection lasts this long, the n-th in a row n times as long; default 5s.
        ejection: Option<At<Duration>>,
        /// No ejection is longer; default 5m.
        ejection_max: Option<At<Duration>>,
        /// From the first success to full traffic; default 30s.
        slow_start: Option<Duration>,
    }
}

record! {
    /// How much retries may add. Leaving a pool that was lost costs none of it.
    Retry as "routing.retry" {
        /// Prompt tokens of retries, as a share of those sent in the last ten seconds; default 0.1.
        share: Option<Share>,
        /// So many retries in ten seconds are always allowed; default 3.
        floor: Option<u32>,
        /// Attempts of a call, the first included; default 3, at most 8.
        attempts: Option<At<u32>>,
    }
}

record! {
    /// What is the most that one caller may ask of the router itself.
    Limits as "limits" {
        /// A request's body; default 32MiB.
        body: Option<At<Bytes>>,
        /// Connections at once, a listener; default 10000.
        connections: Option<At<u32>>,
        /// Calls at once on one HTTP/2 connection; default 128.
        streams: Option<At<u32>>,
        /// Calls that may wait for room at once; default 10000. One more is refused.
        waiting: Option<At<u32>>,
        /// Calls that may wait for a better price at once; default 10000. One more is sent at the price of now.
        deferred: Option<At<u32>>,
    }
}

words! {
    /// Where the line of each call goes.
    CallLog as "sink" {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
        /// Nowhere.
        Off = "off",
    }
}

words! {
    /// A form of log lines.
    LogFormat as "format" {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

record! {
    /// What is logged, and how. Prompts and answers never are.
    Log as "log" {
        /// `error`, `warn`, `info` (default), `debug`, or a filter like `info,gridtie::flow=debug`.
        filter: Option<At<String>>,
        /// `text` or `json`; default text on a terminal, json otherwise.
        format: Option<LogFormat>,
        /// Where the line of each call goes: `stdout` (default), `stderr` or `off`.
        calls: Option<CallLog>,
    }
}

record! {
    /// How the router goes down.
    Shutdown as "shutdown" {
        /// How long calls under way may take to finish; default 30s.
        grace: Option<Duration>,
    }
}

record! {
    /// A kind of traffic: its targets and what they are worth.
    Class as "class" {
        /// What callers say to be of it.
        name: At<Name>,
        /// First token within this, or it is a miss.
        first_token: Option<At<Duration>>,
        /// Whole answer within this, or it is a miss.
        finish: Option<At<Duration>>,
        /// What a miss costs, in dollars; default 0.
        miss_usd: Option<Amount>,
        /// The share of its calls that is to be in time, such as 0.995; while more are late, a miss counts up to six times
        /// as dear. Default: nothing is promised.
        in_time: Option<At<Share>>,
        /// What a second of waiting for the first token costs, in dollars; default 0.
        second_usd: Option<Amount>,
        /// A call without a deadline of its own gets this one; default 120s.
        deadline: Option<At<Duration>>,
        /// The share of what a pool's budget should still have that is not for this class but for those above it; default 0.3
        /// for classes that may wait, 0.1 for others whose misses cost less than some other class's, 0 for the rest.
        reserve: Option<Share>,
        /// May wait for a pool to come back into reach instead of failing; default false.
        may_wait: Option<bool>,
        /// While calls of it wait for room, it gets at least this share of what is granted to those that wait, however
        /// dear the others are; default 0.05, or less where more is not left. All together at most 1.
        floor: Option<At<Share>>,
    }
}

words! {
    /// What a model is for.
    ModelKind as "kind" {
        /// Conversations and completions.
        Chat = "chat",
        /// Vectors.
        Embed = "embed",
    }
}

record! {
    /// A name that clients ask for.
    Model as "model" {
        /// Unique.
        name: At<Name>,
        /// Other names for it.
        aliases: Vec<At<Name>>,
        /// `chat` (default) or `embed`.
        kind: Option<ModelKind>,
    }
}

words! {
    /// How capacity is paid for.
    Tenure as "tenure" {
        /// Committed: paid whether used or not.
        Owned = "owned",
        /// Paid by the token.
        Metered = "metered",
    }
}

words! {
    /// What we speak to.
    PoolKind as "kind" {
        /// A model of engines inside this process: no network, no cost.
        Simulated = "simulated",
        /// Anything that speaks OpenAI's HTTP API.
        Openai = "openai",
        /// Another Gridtie, or anything that speaks `gridtie.v1.Inference`.
        Grpc = "grpc",
    }
}

record! {
    /// Capacity under one contract.
    Pool as "pool" {
        /// Unique.
        name: At<Name>,
        /// `owned` or `metered`.
        tenure: At<Tenure>,
        /// `simulated`, `openai` or `grpc`: decides which other keys make sense.
        kind: At<PoolKind>,
        /// Where it is, in your words; callers may ask for regions.
        region: Option<Name>,
        /// Pools of one failure domain are lost together; default the pool's own name.
        failure_domain: Option<Name>,
        /// When it can be reached at all; default always.
        contact: Option<Contact>,
        /// What the clock shows more than UTC that `hours` of this pool are read on, like "+02:00"; default UTC.
        utc_offset: Option<UtcOffset>,
        /// tenure = "owned": from when to when it is yours; default for good.
        lease: Option<Lease>,
        /// tenure = "owned": what it draws, and what that costs.
        power: Option<Power>,
        /// The round trip to it before anything is measured; default 5ms for owned pools, 60ms for metered ones.
        round_trip: Option<At<Duration>>,
        /// At most so many calls at once; default no limit.
        max_in_flight: Option<At<u32>>,
        /// What the contract grants: beyond it the pool refuses. The router keeps within it, and prices what is scarce.
        grants: Option<Grants>,
        /// Its place under the policy `ordered`: smaller is earlier; default the order in the file.
        order: Option<u32>,
        /// Its share under the policy `weighted`; default 1; 0 gets calls only when no other can take them.
        weight: Option<Amount>,
        /// What an endpoint does before anything is measured.
        expect: Option<Expect>,
        /// What it serves.
        offer: Vec<Offer>,
        /// Origins, `https://host:port`; `dns+http://name:port` is every address that the name resolves to.
        endpoints: Vec<At<String>>,
        /// How often such a name is looked up; default 30s.
        resolve: Option<At<Duration>>,
        /// The key at the provider.
        key: Option<At<Reference>>,
        /// Roots to trust, PEM; default the system's.
        ca: Option<At<Reference>>,
        /// Loopback and private addresses may be dialled; default only for owned pools.
        allow_private: Option<bool>,
        /// kind = "openai": whose variety of the API; default generic.
        flavour: Option<Flavour>,
        /// kind = "openai": the path before `/chat/completions`; default the flavour's own.
        base_path: Option<At<String>>,
        /// kind = "openai": the path of its engines' metrics (vLLM, SGLang, TGI), to see what others send there; default none.
        metrics: Option<At<String>>,
        /// How often they are asked, on average; default 1s.
        metrics_every: Option<At<Duration>>,
        /// kind = "openai": an egress proxy, `http://host:port`.
        egress_proxy: Option<At<String>>,
        /// kind = "openai" or "grpc": limit for connecting; default 500ms.
        connect: Option<At<Duration>>,
        /// kind = "simulated": engines, one endpoint each.
        engine: Vec<Engine>,
        /// kind = "simulated": the way there, and what goes wrong.
        door: Option<Door>,
        /// kind = "simulated": how long answers are, in tokens (the median); default 120.
        answer_tokens: Option<Within<1, 100_000>>,
        /// kind = "simulated": seed of faults and answers; default 0.
        seed: Option<u32>,
    }
}

record! {
    /// When an intermittent pool can be reached.
    Contact as "contact" {
        /// From one window's start to the next.
        period: At<Duration>,
        /// How long a window is.
        length: At<Duration>,
        /// The start of some window; default 1970-01-01T00:00:00Z.
        anchor: Option<Timestamp>,
    }
}

record! {
    /// What an endpoint does before anything is measured. Priors, not limits.
    Expect as "expect" {
        /// From request to first token, nothing queued, no prompt; default 400ms.
        first_token: Option<Duration>,
        /// Input tokens a second; default 10000.
        prefill_tokens_per_s: Option<Within<1, 10_000_000>>,
        /// Output tokens a second for one caller; default 40.
        output_tokens_per_s: Option<Within<1, 100_000>>,
        /// Calls at once before they queue; default 64.
        slots: Option<u32>,
    }
}

record! {
    /// A pool's service of a model. Prices are dollars per million tokens.
    Offer as "pool.offer" {
        /// One of the models.
        model: At<Name>,
        /// What the pool calls it; default the model's name.
        upstream: Option<String>,
        /// Input and output together, in tokens; default unknown and unlimited.
        context: Option<At<u32>>,
        /// Input tokens that were not cached.
        input: Option<Amount>,
        /// Input tokens read from the cache; default as input.
        cached: Option<Amount>,
        /// Input tokens written to the cache; default as input.
        cache_write: Option<Amount>,
        /// Output tokens.
        output: Option<Amount>,
        /// Hours at which they cost something else, on the pool's clock; the first that fits counts.
        hours: Vec<OfferHours>,
        /// Added to what the kind of model has by default; `-tools` takes one away.
        capabilities: Vec<At<String>>,
    }
}

record! {
    /// Simulated engines of one kind.
    Engine as "pool.engine" {
        /// What they are like: h100, a100, h100-bloom, a100-bloom, cloud or embedder.
        preset: At<String>,
        /// How many of them; default 1.
        count: Option<At<u32>>,
        /// preset = "cloud": the median time to the first token of a short prompt.
        first_token: Option<At<Duration>>,
        /// preset = "cloud": how widely that varies, as the standard deviation of its logarithm; default 0.45.
        spread: Option<Amount>,
        /// preset = "cloud": output tokens a second for one caller; default 80.
        output_tokens_per_s: Option<Within<1, 100_000>>,
    }
}

record! {
    /// The way to a simulated pool, and what goes wrong there.
    Door as "pool.door" {
        /// One way; default 0ms.
        delay: Option<Duration>,
        /// Refuse every connection; default false.
        refuse: Option<bool>,
        /// Requests a minute; the next one gets a 429; default what the pool grants.
        requests_per_minute: Option<At<u32>>,
        /// The share of requests that get an error instead of an answer; default 0.
        error_rate: Option<Share>,
        /// The HTTP status of these errors; default 500.
        error_status: Option<Within<400, 599>>,
        /// The share of answers that are cut off; default 0.
        truncate_rate: Option<Share>,
        /// Tokens before the cut; default 20.
        truncate_after: Option<u32>,
        /// The share of answers that go silent for good; default 0.
        stall_rate: Option<Share>,
        /// Tokens before the silence; default 20.
        stall_after: Option<u32>,
    }
}
