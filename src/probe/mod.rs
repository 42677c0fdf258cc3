//! Asks the engines of a pool how busy they are, again and again.
//!
//! What others send there is seen no other way. An endpoint that does not answer is not ill for that: calls say what is
//! ill, and a report that does not come only grows old. Knows no wire and not what its results are for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};

use crate::domain::{Address, EndpointId, EngineLoad, Failure, FailureKind};

/// How a pool's engines are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How often, on average.
    pub every: Duration,
}

/// At most so many of a pool are asked at once: a page is up to a MiB, and more is a burst on the way there.
const AT_ONCE: usize = 8;

/// A page that takes longer says how it was then, not how it is.
const TIMEOUT: Duration = Duration::from_secs(1);

/// However short the wait that was drawn, this is no busy loop.
const WAIT_MIN: Duration = Duration::from_millis(20);

/// Where a pool's endpoints are, now.
pub type Places = Vec<(EndpointId, Arc<Address>)>;

/// Asks until it is dropped. `ask` gets an answer, `tell` hears of each. Waits are drawn from nothing to twice the mean, so
/// that routers that were started together do not ask together.
pub async fn watch<A, F>(
    settings: Settings,
    seed: u64,
    places: impl Fn() -> Places,
    ask: A,
    mut tell: impl FnMut(EndpointId, Result<EngineLoad, Failure>),
) where
    A: Fn(Arc<Address>) -> F,
    F: Future<Output = Result<EngineLoad, Failure>>,
{
    let mut rng = SmallRng::seed_from_u64(seed);
    loop {
        sleep(settings.every.mul_f64(2.0 * rng.random::<f64>()).max(WAIT_MIN)).await;
        let one = |(id, address): (EndpointId, Arc<Address>)| {
            let asked = timeout(TIMEOUT, ask(address));
            async move {
                let late = |_| Failure::new(FailureKind::Deadline, "no page of metrics in time");
                (id, asked.await.map_err(late).flatten())
            }
        };
        let mut answers = stream::iter(places().into_iter().map(one)).buffer_unordered(AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            tell(id, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn place(i: u32) -> (EndpointId, Arc<Address>) {
        (EndpointId(i), Arc::new(Address { origin: format!("http://{i}").into(), socket: None }))
    }

    #[tokio::test(start_paused = true)]
    async fn every_endpoint_is_asked_and_one_that_hangs_holds_up_nobody_for_long() {
        let told = Mutex::new(Vec::new());
        let ask = |address: Arc<Address>| async move {
            match &*address.origin {
                "http://1" => std::future::pending().await,
                "http://2" => Err(Failure::new(FailureKind::Connect, "refused")),
                _ => Ok(EngineLoad { running: Some(3), ..EngineLoad::default() }),
            }
        };
        let tell = |id: EndpointId, answer: Result<EngineLoad, Failure>| {
            told.lock().unwrap().push((id.0, answer.map_err(|f| f.kind)));
        };
        let settings = Settings { every: Duration::from_secs(1) };
        let watching = watch(settings, 7, || (0..3).map(place).collect(), ask, tell);
        // A round waits two seconds at most, and a second for the one that hangs.
        assert!(timeout(Duration::from_secs(31), watching).await.is_err());
        let told = told.into_inner().unwrap();
        let rounds = told.iter().filter(|(id, _)| *id == 0).count();
        assert!(rounds >= 10, "{rounds}");
        for (id, answer) in told {
            let expected = [Ok(Some(3)), Err(FailureKind::Deadline), Err(FailureKind::Connect)];
            assert_eq!(answer.map(|load| load.running), expected[id as usize]);
        }
    }
}
