//! Which connections are used again, and for how long they are kept for it.

use super::*;
use crate::upstream::openai::pool::Place;

fn place(upstream: &OpenAi, fake: &Fake) -> Arc<Place> {
    upstream.shared.pool.place(&attempt(&fake.origin(), false).address).unwrap()
}

/// Returns once nothing is at rest that could be used.
async fn nothing_rests(place: &Arc<Place>) {
    while let Some(connection) = place.wake() {
        connection.rest();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_the_other_side_has_closed_is_not_used_again() {
    let fake = Fake::new(vec![answer("200 OK", JSON, WHOLE)]).await;
    let upstream = OpenAi::new(&settings()).unwrap();
    for connections in 1..=3 {
        assert!(upstream.call(attempt(&fake.origin(), false)).await.is_ok());
        assert_eq!(*fake.connections.lock().unwrap(), connections);
        nothing_rests(&place(&upstream, &fake)).await;
    }
}

#[tokio::test]
async fn b15_an_answer_with_something_behind_it_leaves_no_connection() {
    let Act::Send(whole) = answer("200 OK", JSON, WHOLE) else { panic!("it sends") };
    let fake = Fake::new(vec![send(&format!("{whole}HTTP/1.1 200 OK\r\n")), Act::Hold]).await;
    let upstream = OpenAi::new(&settings()).unwrap();
    assert!(upstream.call(attempt(&fake.origin(), false)).await.is_ok());
    nothing_rests(&place(&upstream, &fake)).await;
}

#[tokio::test]
async fn an_answer_that_says_close_leaves_no_connection() {
    let close = format!("{JSON}connection: x, Close\r\n");
    let fake = Fake::new(vec![answer("200 OK", &close, WHOLE), Act::Hold]).await;
    let upstream = OpenAi::new(&settings()).unwrap();
    assert!(upstream.call(attempt(&fake.origin(), false)).await.is_ok());
    assert_eq!(upstream.shared.pool.look(), 0);
}

#[tokio::test]
async fn a_stream_that_was_read_to_its_end_leaves_its_connection() {
    let body = [TEXT, STOP, END].concat();
    let chunked = format!("{SSE}transfer-encoding: chunked\r\n");
    let text = format!("HTTP/1.1 200 OK\r\n{chunked}\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let fake = Fake::new(vec![send(&text), Act::Hold]).await;
    let upstream = OpenAi::new(&settings()).unwrap();
    let Ok(Reply::Stream(pieces)) = upstream.call(attempt(&fake.origin(), true)).await else {
        panic!("a stream")
    };
    assert_eq!(drain(pieces).await, (mine(&body), Ok(())));
    assert_eq!(upstream.shared.pool.look(), 1);
}

#[tokio::test]
async fn no_more_connections_rest_than_are_granted_and_none_for_ever() {
    let fake = Fake::new(vec![answer("200 OK", JSON, WHOLE), Act::Hold]).await;
    let one = Settings { idle_connections: 1, ..settings() };
    let upstream = OpenAi::new(&one).unwrap();
    let calls = [(); 3].map(|()| upstream.call(attempt(&fake.origin(), false)));
    for answered in futures_util::future::join_all(calls).await {
        assert!(answered.is_ok());
    }
    assert_eq!(*fake.connections.lock().unwrap(), 3);
    let looks: Vec<usize> = (0..9).map(|_| upstream.shared.pool.look()).collect();
    assert_eq!(looks, [1, 1, 1, 1, 1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn connections_at_rest_are_closed_when_their_time_is_over() {
    let fake = Fake::new(vec![answer("200 OK", JSON, WHOLE), Act::Hold]).await;
    let short = Settings { idle_timeout: Duration::from_millis(80), ..settings() };
    let upstream = OpenAi::new(&short).unwrap();
    assert!(upstream.call(attempt(&fake.origin(), false)).await.is_ok());
    fake.hung_up.notified().await;
}

#[tokio::test]
async fn a_refusal_that_does_not_wait_for_the_whole_request_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let Act::Send(refusal) = answer("413 Too Large", JSON, "{}") else { panic!("it sends") };
        tcp.write_all(refusal.as_bytes()).await.unwrap();
        // Kept open, and never read.
        std::future::pending::<()>().await;
        drop(tcp);
    });
    let upstream = OpenAi::new(&settings()).unwrap();
    let plain = attempt(&origin, false);
    let long =
        format!(r#"{{"model":"mine","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(16 << 20));
    let request = Request { body: Body::OpenAi(long.into()), ..(*plain.request).clone() };
    let failure = upstream.call(Attempt { request: Arc::new(request), ..plain }).await.unwrap_err();
    assert_eq!(failure.status, Some(413));
    assert_eq!(upstream.shared.pool.look(), 0);
}
