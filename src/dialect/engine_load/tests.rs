use std::path::Path;

use super::*;

fn load(running: u32, waiting: u32, kv_permille: u16) -> Option<EngineLoad> {
    Some(EngineLoad { running: Some(running), waiting: Some(waiting), kv_permille: Some(kv_permille) })
}

const VLLM: &str = r#"# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a"} 3.0
vllm:num_requests_running{engine="1",model_name="a"} 2.0
vllm:num_requests_running{engine="0",model_name="b\"}, 9"} 1.0 1760000000000
vllm:num_requests_waiting{engine="0",model_name="a"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="a",reason="capacity"} 4.0
vllm:num_requests_running_created{engine="0",model_name="a"} 1.7e+09
vllm:kv_cache_usage_perc{engine="0",model_name="a"} 0.9
vllm:kv_cache_usage_perc{engine="1",model_name="a"} 0.5"#;

const SGLANG: &str = r#"
sglang:num_running_reqs{dp_rank="0",tp_rank="0"} 7
sglang:num_running_reqs{dp_rank="0",tp_rank="1"} 7
sglang:num_running_reqs{dp_rank="1",tp_rank="0"} 5
sglang:num_queue_reqs{dp_rank="0",tp_rank="0"} 0
sglang:token_usage{dp_rank="0",tp_rank="0"} 0.25
"#;

const ORCA: [&str; 4] = [
    "TEXT named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=3",
    "kv_cache_usage_perc=0.4,num_requests_waiting=3,cpu_utilization=0.5",
    r#"JSON {"named_metrics": {"kv_cache_usage_perc": 0.4, "num_requests_waiting": 3, "x": "y"}, "eps": 1}"#,
    r#"{"named_metrics":{"kv_cache_utilization":0.4,"num_waiting_requests":3.0}}"#,
];

#[test]
fn calls_of_all_models_and_engines_add_up() {
    assert_eq!(of_page(VLLM.as_bytes()), load(6, 4, 700));
    assert_eq!(of_page(VLLM.replace("vllm:", "vllm_").as_bytes()), load(6, 4, 700), "under Ray");
}

#[test]
fn ranks_that_share_their_calls_are_counted_once() {
    assert_eq!(of_page(SGLANG.as_bytes()), load(12, 0, 250));
}

#[test]
fn a_server_without_a_gauge_of_its_cache_says_the_rest() {
    let page = "tgi_queue_size 2\r\ntgi_batch_current_size 30\r\ntgi_request_count 900\r\n";
    let said = of_page(page.as_bytes()).unwrap();
    assert_eq!(said, EngineLoad { running: Some(30), waiting: Some(2), kv_permille: None });
}

#[test]
fn a_page_without_engine_metrics_says_nothing_rather_than_idle() {
    for page in ["", "# EOF", "python_gc_objects_collected_total{generation=\"0\"} 3.0\n", "<html></html>"] {
        assert_eq!(of_page(page.as_bytes()), None, "{page}");
    }
}

#[test]
fn what_is_absurd_is_passed_over_line_by_line() {
    for value in ["NaN", "-1", "+Inf", "1e300", "many", ""] {
        let page = format!("vllm:num_requests_running {value}\nvllm:num_requests_waiting 1\n");
        let said = of_page(page.as_bytes()).unwrap();
        assert_eq!((said.running, said.waiting), (None, Some(1)), "{value}");
    }
    assert_eq!(of_page(b"vllm:kv_cache_usage_perc 90\n"), None, "a share above one is none");
    assert_eq!(of_page(b"vllm:num_requests_running{a=\"b 3\nvllm:num_requests_running{ 3"), None);
    let many: String = (0..10_000).map(|i| format!("vllm:num_requests_running{{m=\"{i}\"}} 1\n")).collect();
    assert_eq!(of_page(many.as_bytes()).unwrap().running, Some(GROUPS_MAX as u32));
}

#[test]
fn every_form_of_the_header_says_the_same() {
    for header in ORCA {
        let said = of_header(header.as_bytes()).unwrap();
        assert_eq!(said, EngineLoad { running: None, waiting: Some(3), kv_permille: Some(400) }, "{header}");
    }
    for header in
        ["BIN CZqZmZmZmbk/MQ==", "TEXT cpu_utilization=0.3, mem_utilization=0.8", "JSON {", "JSON []", ""]
    {
        assert_eq!(of_header(header.as_bytes()), None, "{header}");
    }
}

#[test]
fn no_flipped_byte_and_no_cut_makes_it_panic() {
    for sample in [VLLM, SGLANG].into_iter().chain(ORCA) {
        for at in 0..sample.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut bytes = sample.as_bytes().to_vec();
                bytes[at] ^= flip;
                of_page(&bytes);
                of_header(&bytes);
                bytes.truncate(at);
                of_page(&bytes);
                of_header(&bytes);
            }
        }
    }
}

#[test]
fn recorded_pages_are_understood() {
    let Ok(shared) = std::env::var("GRIDTIE_SHARED") else {
        eprintln!("skipped: GRIDTIE_SHARED is unset");
        return;
    };
    for (name, said) in [
        ("vllm_metrics_excerpt.prom", load(0, 0, 0)),
        ("sglang_metrics_excerpt.prom", load(0, 0, 250)),
        ("vllm_metrics_dp2.prom", Some(EngineLoad { running: Some(3), waiting: Some(1), kv_permille: None })),
    ] {
        let page = std::fs::read(Path::new(&shared).join("fixtures/metrics").join(name)).unwrap();
        assert_eq!(of_page(&page), said, "{name}");
    }
}
