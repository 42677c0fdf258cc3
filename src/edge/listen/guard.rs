//! The limits of one connection: how long a peer may take to ask, and to listen.
//!
//! hyper has one limit for the rest of an idle connection and the head of its next request together, at the price of a
//! timer a request, and none for a peer that stops reading. So the transport keeps all three. It learns from the service
//! when a request is being worked on.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::head::{Counted, Framing, Head};
use super::rest::Rest;

/// What the peer speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The first bytes of a connection, read to tell the protocol and still to be given to it.
pub(super) struct Prefix {
    bytes: [u8; Prefix::MAX],
    from: usize,
    to: usize,
}

impl Prefix {
    /// No request is shorter, so that no read waits for bytes that are not needed.
    const MAX: usize = 16;
}

/// HTTP/2 begins with these; no HTTP/1 method does.
const HTTP2: [u8; 3] = *b"PRI";

/// Reads just enough to tell HTTP/2 from HTTP/1.1.
pub(super) async fn sniff(io: &mut Transport) -> io::Result<(Protocol, Prefix)> {
    let mut prefix = Prefix { bytes: [0; Prefix::MAX], from: 0, to: 0 };
    loop {
        let read = io.read(&mut prefix.bytes[prefix.to..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        prefix.to += read;
        let seen = prefix.to.min(HTTP2.len());
        if prefix.bytes[..seen] != HTTP2[..seen] {
            return Ok((Protocol::Http1, prefix));
        }
        if seen == HTTP2.len() {
            return Ok((Protocol::Http2, prefix));
        }
    }
}

pin_project! {
    /// TCP, with or without TLS.
    #[project = TransportProj]
    pub(super) enum Transport {
        Plain { #[pin] io: TcpStream },
        Tls { #[pin] io: Box<TlsStream<TcpStream>> },
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.project() {
            TransportProj::Plain { io } => io.poll_read(cx, buf),
            TransportProj::Tls { io } => io.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.project() {
            TransportProj::Plain { io } => io.poll_write(cx, buf),
            TransportProj::Tls { io } => io.poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.project() {
            TransportProj::Plain { io } => io.poll_write_vectored(cx, bufs),
            TransportProj::Tls { io } => io.poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain { io } => io.is_write_vectored(),
            Self::Tls { io } => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.project() {
            TransportProj::Plain { io } => io.poll_flush(cx),
            TransportProj::Tls { io } => io.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.project() {
            TransportProj::Plain { io } => io.poll_shutdown(cx),
            TransportProj::Tls { io } => io.poll_shutdown(cx),
        }
    }
}

/// The times of a connection; see [`Settings`](super::Settings).
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) write_stall: Duration,
}

/// Requests of a connection.
#[derive(Default, Debug)]
pub(super) struct Activity {
    /// Under way: from the end of the head to the end of the answer.
    busy: AtomicUsize,
    /// Ever begun: tells a head that is still coming from the next one.
    begun: AtomicUsize,
    /// What was counted in the head of the next request, packed.
    head: AtomicU32,
    /// Between two requests, with nothing of the next.
    resting: AtomicBool,
    /// It was resting when it was told to end: there is no answer that could get lost.
    dismissed: AtomicBool,
}

impl Activity {
    /// The shutdown has begun.
    pub(super) fn dismiss(&self) {
        self.dismissed.store(self.resting.load(Ordering::Relaxed) && !self.is_busy(), Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// How a request in chunks is framed. To be asked once a request.
    fn framing<B>(&self, request: &Request<B>) -> Framing {
        let counted = Counted::unpacked(self.head.swap(0, Ordering::Relaxed));
        let chunked = request.headers().contains_key(TRANSFER_ENCODING);
        if chunked { counted.framing(request.headers().len()) } else { Framing::Clear }
    }
}

/// One of them.
#[derive(Debug)]
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A timer whose allocation is kept for the life of the connection.
#[derive(Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Alarm {
    /// Rings `after` from the first poll since it was last disarmed.
    fn poll(&mut self, after: Duration, cx: &mut Context<'_>) -> Poll<io::Error> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        if !mem::replace(&mut self.armed, true) {
            sleep.set(tokio::time::sleep(after));
        }
        sleep.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    fn disarm(&mut self) {
        self.armed = false;
    }
}

/// After our end of a connection is closed, what the peer still sends is read and thrown away for a moment: closing
/// with unread bytes resets the connection, and the answer (a 413, say) is lost on its way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

pin_project! {
    /// A transport that keeps the times.
    pub(super) struct Guarded<T> {
        #[pin]
        inner: T,
        prefix: Prefix,
        protocol: Protocol,
        limits: Limits,
        activity: Arc<Activity>,
        begun: usize,
        in_head: bool,
        head: Head,
        reading: Alarm,
        rest: Rest,
        writing: Alarm,
        lingering: Option<usize>,
    }
}

impl<T> Guarded<T> {
    pub(super) fn new(
        inner: T,
        prefix: Prefix,
        protocol: Protocol,
        limits: Limits,
        activity: Arc<Activity>,
    ) -> Self {
        let (reading, writing) = (Alarm::default(), Alarm::default());
        // The prefix is the beginning of a head.
        let in_head = true;
        Self {
            inner,
            prefix,
            protocol,
            limits,
            activity,
            begun: 0,
            in_head,
            head: Head::default(),
            reading,
            rest: Rest::default(),
            writing,
            lingering: None,
        }
    }
}

impl<T: AsyncRead> AsyncRead for Guarded<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let prefix = this.prefix;
        if prefix.from < prefix.to {
            let take = buf.remaining().min(prefix.to - prefix.from);
            let bytes = &prefix.bytes[prefix.from..prefix.from + take];
            buf.put_slice(bytes);
            if *this.protocol == Protocol::Http1
                && let Some(counted) = this.head.read(bytes)
            {
                this.activity.head.store(counted.packed(), Ordering::Relaxed);
            }
            prefix.from += take;
            return Poll::Ready(Ok(()));
        }
        let filled = buf.filled().len();
        let read = this.inner.poll_read(cx, buf);
        if *this.protocol == Protocol::Http2 {
            // Its pings tell whether anybody is there.
            return read;
        }
        let begun = this.activity.begun.load(Ordering::Relaxed);
        if mem::replace(this.begun, begun) != begun {
            *this.in_head = false;
            *this.head = Head::default();
            this.reading.disarm();
        }
        // Bytes are of a body while a request is under way, and of the next head while none is.
        if read.is_ready() && !this.activity.is_busy() {
            *this.in_head = true;
            if let Some(counted) = this.head.read(&buf.filled()[filled..]) {
                this.activity.head.store(counted.packed(), Ordering::Relaxed);
            }
        }
        let resting = read.is_pending() && !*this.in_head && !this.activity.is_busy();
        this.activity.resting.store(resting, Ordering::Relaxed);
        if read.is_pending() && *this.in_head {
            return this.reading.poll(this.limits.head, cx).map(Err);
        }
        read
    }
}

/// The outcome of a write, or the alarm if the peer has taken nothing for too long.
fn stalled<R>(
    written: Poll<io::Result<R>>,
    alarm: &mut Alarm,
    limit: Duration,
    cx: &mut Context<'_>,
) -> Poll<io::Result<R>> {
    if written.is_ready() {
        alarm.disarm();
        return written;
    }
    alarm.poll(limit, cx).map(Err)
}

impl<T: AsyncRead + AsyncWrite> AsyncWrite for Guarded<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        stalled(this.inner.poll_write(cx, buf), this.writing, this.limits.write_stall, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        stalled(this.inner.poll_write_vectored(cx, bufs), this.writing, this.limits.write_stall, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        // A TLS flush writes; a TCP flush is always ready and must not disarm the alarm of a blocked write.
        let flushed = this.inner.poll_flush(cx);
        if flushed.is_pending() {
            return stalled(flushed, this.writing, this.limits.write_stall, cx);
        }
        // hyper flushes whenever it has looked at a connection, last of all; it does not always read.
        let begun = this.activity.begun.load(Ordering::Relaxed);
        let in_head = *this.in_head && *this.begun == begun;
        let resting = *this.protocol == Protocol::Http1 && !in_head && !this.activity.is_busy();
        this.activity.resting.store(resting, Ordering::Relaxed);
        if resting && let Poll::Ready(error) = this.rest.poll(this.limits.idle, begun, cx) {
            return Poll::Ready(Err(error));
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if this.lingering.is_none() {
            ready!(stalled(
                this.inner.as_mut().poll_shutdown(cx),
                this.writing,
                this.limits.write_stall,
                cx
            ))?;
            *this.lingering = Some(LINGER_BYTES);
            this.reading.disarm();
        }
        while let Some(left @ 1..) = *this.lingering {
            let mut scratch = [0; 8 * 1024];
            let mut scratch = ReadBuf::new(&mut scratch);
            match this.inner.as_mut().poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(())) if !scratch.filled().is_empty() => {
                    *this.lingering = Some(left.saturating_sub(scratch.filled().len()));
                }
                Poll::Ready(_) => break,
                // Nothing of a next request is here, and the last answer has long been read.
                Poll::Pending if this.activity.dismissed.load(Ordering::Relaxed) => break,
                Poll::Pending => {
                    return this.reading.poll(LINGER.min(this.limits.write_stall), cx).map(|_| Ok(()));
                }
            }
        }
        *this.lingering = Some(0);
        Poll::Ready(Ok(()))
    }
}

/// A service that tells its connection when it is busy, whose answers to HEAD have no body (which hyper sees to in
/// HTTP/1.1 only), and that refuses a request with both a length and chunks (RFC 9112, 6.3). Where it cannot be told
/// whether there was a length, nothing more is read from the connection, which makes it harmless.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<S, B> Service<Request<Incoming>> for Watched<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<WatchedBody<B>>;
    type Error = S::Error;
    type Future = WatchedFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = Some(Busy::new(&self.activity));
        let head_only = *request.method() == Method::HEAD;
        let framing = self.activity.framing(&request);
        let inner = (framing != Framing::Both).then(|| self.inner.call(request));
        WatchedFuture { inner, busy, head_only, last: framing != Framing::Clear }
    }
}

pin_project! {
    /// An answer in the making.
    pub(super) struct WatchedFuture<F> {
        // Absent is a refusal.
        #[pin]
        inner: Option<F>,
        busy: Option<Busy>,
        head_only: bool,
        // Nothing more is read from the connection.
        last: bool,
    }
}

impl<F, B, E> Future for WatchedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<WatchedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            let mut response = Response::new(WatchedBody { inner: None, _busy: this.busy.take() });
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Poll::Ready(Ok(response));
        };
        let mut response = ready!(inner.poll(cx))?;
        if *this.last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let length = response.body().size_hint().exact();
        if let (true, Some(length)) = (*this.head_only, length) {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let (busy, head_only) = (this.busy.take(), *this.head_only);
        Poll::Ready(Ok(response.map(|body| WatchedBody { inner: (!head_only).then_some(body), _busy: busy })))
    }
}

pin_project! {
    /// An answer on its way.
    pub(super) struct WatchedBody<B> {
        #[pin]
        inner: Option<B>,
        _busy: Option<Busy>,
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().inner.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
