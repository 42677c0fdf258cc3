use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::dialect::gridtie::v1;
use crate::domain::Grants;
use crate::engine::{self, Door, Opaque};

/// First token after a millisecond, and a millisecond a token.
fn quick(door: Door) -> Settings {
    let engine = engine::Settings::Opaque(Opaque {
        ttft_median_s: 0.001,
        ttft_sigma: 0.0,
        prefill_token_s: 0.0,
        tpot_s: 0.001,
        max_jobs: 100,
    });
    Settings {
        name: Arc::from("p"),
        engines: vec![engine, engine],
        door,
        models: vec![Arc::from("m")],
        ..Settings::default()
    }
}

/// A served pool; dropping it stops it.
struct Running {
    bound: Bound,
    _stop: oneshot::Sender<()>,
    client: Client<HttpConnector, Full<bytes::Bytes>>,
}

async fn serve(door: Door) -> Running {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let pool = MockPool { settings: quick(door), http: any, grpc: Some(any) };
    let mock = bind(vec![pool], &Clock::system()).await.unwrap();
    let bound = mock.bound().unwrap().remove(0);
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(mock.run(async move {
        let _ = stopped.await;
    }));
    Running { bound, _stop: stop, client: Client::builder(TokioExecutor::new()).build_http() }
}

type Response = ::http::Response<hyper::body::Incoming>;

impl Running {
    async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Response, String> {
        let request = ::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.bound.http))
            .body(Full::from(body.to_string()))
            .unwrap();
        self.client.request(request).await.map_err(|e| e.to_string())
    }

    async fn chat(&self, more: Value) -> Result<Response, String> {
        let mut body =
            json!({"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 6});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.send("POST", "/v1/chat/completions", &body).await
    }
}

async fn body(response: Response) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

/// What came of a streamed body, and whether it ended as HTTP says.
async fn read(response: Response) -> (String, bool) {
    let (mut text, mut body) = (String::new(), response.into_body());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
            Err(_) => return (text, false),
        }
    }
    (text, true)
}

#[tokio::test]
async fn a_chat_is_answered_in_openais_dialect() {
    let pool = serve(Door::default()).await;
    let response = pool.chat(json!({})).await.unwrap();
    assert_eq!(response.status(), 200);
    let answer = body(response).await;
    assert_eq!(answer["model"], "m");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 6);
    assert!(!answer["choices"][0]["message"]["content"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn a_stream_has_a_chunk_a_token_and_a_proper_end() {
    let pool = serve(Door::default()).await;
    let ask = json!({"stream": true, "stream_options": {"include_usage": true}});
    let (text, whole) = read(pool.chat(ask).await.unwrap()).await;
    assert!(whole && text.ends_with("data: [DONE]\n\n"), "{text}");
    let chunks: Vec<Value> =
        text.split("\n\n").filter_map(|e| serde_json::from_str(e.strip_prefix("data: ")?).ok()).collect();
    let content = chunks.iter().filter(|c| c["choices"][0]["delta"]["content"].is_string()).count();
    // Tokens that were ready together still come one by one.
    assert_eq!(content, 6);
    assert_eq!(chunks.iter().filter(|c| c["usage"]["completion_tokens"] == 6).count(), 1);
}

#[tokio::test]
async fn a_cut_stream_cuts_the_connection_after_its_tokens() {
    let pool = serve(Door { truncate_rate: 1.0, truncate_after: 3, ..Door::default() }).await;
    let (text, whole) = read(pool.chat(json!({"stream": true})).await.unwrap()).await;
    assert!(!whole && !text.contains("[DONE]"), "{text}");
    assert_eq!(text.matches("\"content\":").count(), 3, "{text}");
    assert!(pool.chat(json!({})).await.is_err(), "a whole answer has no head yet when it is cut");
}

#[tokio::test]
async fn errors_have_the_status_the_body_and_the_wait_of_a_provider() {
    let pool = serve(Door { error_rate: 1.0, error_status: 503, ..Door::default() }).await;
    let response = pool.chat(json!({})).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(body(response).await["error"]["type"], "overloaded_error");
    let pool = serve(Door {
        grants: Grants { requests_per_minute: Some(1), ..Grants::default() },
        ..Door::default()
    })
    .await;
    assert_eq!(pool.chat(json!({})).await.unwrap().status(), 200);
    let limited = pool.chat(json!({})).await.unwrap();
    assert_eq!(limited.status(), 429);
    let wait: u64 = limited.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_wrong_request_is_told_which_field_is_wrong() {
    let pool = serve(Door::default()).await;
    let wrong = pool.chat(json!({"messages": 5})).await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert_eq!(body(wrong).await["error"]["param"], "messages");
    let unknown = pool.chat(json!({"model": "q"})).await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert_eq!(body(unknown).await["error"]["code"], "model_not_found");
    assert_eq!(pool.send("GET", "/v1/completions", &json!({})).await.unwrap().status(), 405);
    assert_eq!(pool.send("POST", "/v2", &json!({})).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_pool_out_of_reach_takes_no_connection() {
    let pool = serve(Door { refuse: true, ..Door::default() }).await;
    assert!(pool.chat(json!({})).await.is_err());
}

#[tokio::test]
async fn the_other_paths_answer_too() {
    let pool = serve(Door::default()).await;
    let models = body(pool.send("GET", "/v1/models", &json!({})).await.unwrap()).await;
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(pool.send("GET", "/health", &json!({})).await.unwrap().status(), 200);
    let embed = json!({"model": "m", "input": ["a", "b"], "dimensions": 4});
    let vectors = body(pool.send("POST", "/v1/embeddings", &embed).await.unwrap()).await;
    assert_eq!(vectors["data"][1]["embedding"].as_array().unwrap().len(), 4);
    let complete = json!({"model": "m", "prompt": "Once", "max_tokens": 3, "echo": true});
    let completed = body(pool.send("POST", "/v1/completions", &complete).await.unwrap()).await;
    assert!(completed["choices"][0]["text"].as_str().unwrap().starts_with("Once"));
}

#[tokio::test]
async fn a_client_that_goes_frees_the_engine() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = quick(Door::default());
    settings.engines = vec![engine::Settings::H100];
    let mock = bind(vec![MockPool { settings, http: any, grpc: None }], &Clock::system()).await.unwrap();
    let pool = mock.pools().remove(0);
    let bound = mock.bound().unwrap().remove(0);
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(mock.run(async move {
        let _ = stopped.await;
    }));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let running = Running { bound, _stop: stop, client };
    let mut stream = running.chat(json!({"stream": true, "max_tokens": 5_000})).await.unwrap().into_body();
    stream.frame().await.unwrap().unwrap();
    assert_eq!(pool.loads()[0].running, 1);
    drop(stream);
    // The server notices at its next write.
    let freed = async {
        while pool.loads()[0].running > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), freed).await.expect("the engine is free again");
}

#[tokio::test]
async fn grpc_answers_from_the_same_pool() {
    let pool = serve(Door::default()).await;
    let address = format!("http://{}", pool.bound.grpc.unwrap());
    let mut client = v1::inference_client::InferenceClient::connect(address).await.unwrap();
    let models = client.list_models(v1::ListModelsRequest::default()).await.unwrap().into_inner();
    assert_eq!(models.models[0].name, "m");
    let ask = || v1::GenerateRequest {
        model: "m".to_owned(),
        completion: Some(v1::Completion { prompts: vec!["Once".to_owned()], ..Default::default() }),
        sampling: Some(v1::Sampling { max_tokens: Some(5), ..Default::default() }),
        ..Default::default()
    };
    let whole = client.generate(ask()).await.unwrap().into_inner();
    assert_eq!(whole.usage.unwrap().output_tokens, 5);
    let mut events = client.stream_generate(ask()).await.unwrap().into_inner();
    let mut last = None;
    while let Some(event) = events.message().await.unwrap() {
        last = event.event;
    }
    assert!(matches!(last, Some(v1::generate_event::Event::Completed(_))));
    assert!(client.generate(v1::GenerateRequest::default()).await.is_err());
}

#[tokio::test]
async fn a_cut_grpc_stream_ends_with_a_status_and_not_as_completed() {
    let pool = serve(Door { truncate_rate: 1.0, truncate_after: 3, ..Door::default() }).await;
    let address = format!("http://{}", pool.bound.grpc.unwrap());
    let mut client = v1::inference_client::InferenceClient::connect(address).await.unwrap();
    let ask = v1::GenerateRequest {
        model: "m".to_owned(),
        completion: Some(v1::Completion { prompts: vec!["Once".to_owned()], ..Default::default() }),
        ..Default::default()
    };
    let mut events = client.stream_generate(ask).await.unwrap().into_inner();
    let end = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err());
}

#[test]
fn the_embedded_config_has_pools_to_mock() {
    let pools = simulated_pools(&crate::config::embedded());
    assert!(!pools.is_empty());
    for settings in pools {
        assert!(!settings.engines.is_empty() && !settings.models.is_empty(), "{settings:?}");
    }
}

#[tokio::test]
async fn what_is_left_of_a_limit_comes_with_every_answer() {
    let grants = Grants { requests_per_minute: Some(12), ..Grants::default() };
    let pool = serve(Door { grants, ..Door::default() }).await;
    for (status, remaining) in [(200, "1"), (200, "0"), (429, "0")] {
        let response = pool.chat(json!({})).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-ratelimit-limit-requests"], "2");
        assert_eq!(response.headers()["x-ratelimit-remaining-requests"], remaining);
        let reset = response.headers()["x-ratelimit-reset-requests"].to_str().unwrap();
        assert!(reset.ends_with("ms"), "{reset}");
        assert!(response.headers().get("x-ratelimit-limit-tokens").is_none());
    }
    let without = serve(Door::default()).await.chat(json!({})).await.unwrap();
    assert!(without.headers().keys().all(|name| !name.as_str().contains("ratelimit")));
}

#[tokio::test]
async fn its_engines_say_how_busy_they_are_as_vllm_does() {
    let pool = serve(Door::default()).await;
    let response = pool.send("GET", "/metrics", &json!(null)).await.unwrap();
    assert_eq!(response.status(), 200);
    let page = response.into_body().collect().await.unwrap().to_bytes();
    let said = crate::dialect::engine_load::of_page(&page).unwrap();
    assert_eq!((said.running, said.waiting, said.kv_permille), (Some(0), Some(0), Some(0)));
}
