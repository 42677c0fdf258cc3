//! A proxy that damages what goes through it: between the router and a pool, in user space, so that no test needs a
//! privilege. Bounded: so many connections, one buffer each way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::wire::LONG;

/// Connections at once.
const CONNECTIONS: usize = 256;
/// Bytes that are read at once, each way.
const BUFFER: usize = 8 * 1024;

/// What is done to a connection. All but the first two are about answers; requests pass as they are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Damage {
    /// Nothing.
    None,
    /// Nothing passes, either way, and nobody is told.
    BlackHole,
    /// Requests pass, answers do not.
    OneWay,
    /// Answers pass in pieces of so many bytes.
    Slices(usize),
    /// After so many bytes of answers the connection is reset.
    ResetAfter(usize),
    /// After so many bytes of answers no more come and the connection is half closed: the other half stays open.
    HalfCloseAfter(usize),
    /// After so many bytes of answers nothing more passes; the connection stays.
    StallAfter(usize),
    /// So many bytes a second.
    Bandwidth(u32),
    /// Every so many reads, answers come so much later: what a lost packet looks like from above TCP.
    Hiccups(usize, Duration),
}

/// See the module.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    damage: watch::Sender<Damage>,
    open: AtomicUsize,
}

/// How the answers of a connection came to an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Closed,
    HalfClosed,
    Reset,
}

impl Proxy {
    pub(crate) async fn before(target: SocketAddr, damage: Damage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { target, damage: watch::channel(damage).0, open: AtomicUsize::new(0) });
        tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, for open connections too.
    pub(crate) fn set(&self, damage: Damage) {
        self.shared.damage.send_replace(damage);
    }

    /// Waits until no connection is open.
    pub(crate) async fn is_left(&self) {
        let open = || self.shared.open.load(Ordering::Relaxed);
        let left = async {
            while open() > 0 {
                sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(timeout(LONG, left).await.is_ok(), "{} connections stay open", open());
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let shared = shared.clone();
        tokio::spawn(async move {
            connect(client, &shared).await;
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn connect(client: TcpStream, shared: &Shared) {
    let Ok(pool) = TcpStream::connect(shared.target).await else { return };
    client.set_nodelay(true).unwrap();
    pool.set_nodelay(true).unwrap();
    let (mut client_in, mut client_out) = client.into_split();
    let (mut pool_in, mut pool_out) = pool.into_split();
    let end = {
        let requests = requests(&mut client_in, &mut pool_out, shared.damage.subscribe());
        let answers = answers(&mut pool_in, &mut client_out, shared.damage.subscribe());
        tokio::pin!(requests, answers);
        tokio::select! {
            biased;
            end = &mut answers => match end {
                // The other half lives on until whoever asks has had enough.
                End::HalfClosed => { requests.await; end }
                end => end,
            },
            // Whoever asked has gone: answers have nowhere to go.
            () = &mut requests => End::Closed,
        }
    };
    let client = client_in.reunite(client_out).unwrap();
    if end == End::Reset {
        let _closed = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
}

async fn requests(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, mut damage: watch::Receiver<Damage>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let passes = |damage: &Damage| *damage != Damage::BlackHole;
        let Ok(n @ 1..) = from.read(&mut buffer).await else { break };
        if damage.wait_for(passes).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
    let _closed = to.shutdown().await;
}

async fn answers(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut damage: watch::Receiver<Damage>,
) -> End {
    let (mut buffer, mut total, mut reads) = (vec![0; BUFFER], 0, 0_usize);
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return End::Closed };
        reads += 1;
        let passes = |damage: &Damage| !matches!(damage, Damage::BlackHole | Damage::OneWay);
        let Ok(now) = damage.wait_for(passes).await.map(|damage| *damage) else { return End::Closed };
        let read = &buffer[..n];
        let limit = match now {
            Damage::ResetAfter(limit) | Damage::HalfCloseAfter(limit) | Damage::StallAfter(limit) => limit,
            _ => usize::MAX,
        };
        let left = read.len().min(limit.saturating_sub(total));
        if pass(&read[..left], to, now, reads).await.is_err() {
            return End::Closed;
        }
        total += left;
        if total < limit {
            continue;
        }
        match now {
            Damage::ResetAfter(_) => return End::Reset,
            Damage::StallAfter(_) => {
                if damage.changed().await.is_err() {
                    return End::Closed;
                }
            }
            _ => {
                let _closed = to.shutdown().await;
                return End::HalfClosed;
            }
        }
    }
}

async fn pass(read: &[u8], to: &mut OwnedWriteHalf, damage: Damage, reads: usize) -> std::io::Result<()> {
    match damage {
        Damage::Slices(size) => {
            for slice in read.chunks(size.max(1)) {
                to.write_all(slice).await?;
                // Whoever reads has a chance to see this slice alone.
                tokio::task::yield_now().await;
            }
        }
        Damage::Bandwidth(each_s) => {
            const SLICE: usize = 64;
            for slice in read.chunks(SLICE) {
                to.write_all(slice).await?;
                sleep(Duration::from_secs_f64(slice.len() as f64 / f64::from(each_s.max(1)))).await;
            }
        }
        Damage::Hiccups(every, pause) => {
            if reads.is_multiple_of(every.max(1)) {
                sleep(pause).await;
            }
            to.write_all(read).await?;
        }
        _ => to.write_all(read).await?,
    }
    Ok(())
}

/// An address where SYNs vanish: a listener that accepts nobody and whose queue is full. Keep what comes along.
/// `None`, and why on standard error, where the kernel answers all the same.
pub(crate) async fn black_hole() -> Option<(SocketAddr, Vec<socket2::Socket>)> {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut held = vec![listener];
    for _ in 0..8 {
        let fill = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        fill.set_nonblocking(true).unwrap();
        let _in_progress = fill.connect(&address.into());
        held.push(fill);
    }
    match timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        Err(_) => Some((address, held)),
        Ok(_) => {
            eprintln!("skipped: this kernel answers SYNs even where the queue of a listener is full");
            None
        }
    }
}
