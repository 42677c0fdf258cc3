use std::sync::Arc;

use super::*;

#[test]
fn an_azure_trace_begins_with_its_first_row() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.5000000,374,44\r\n\
                2023-11-17 00:00:01.0000000,396,109";
    let t = read(text).unwrap();
    assert_eq!(secs(&t), [0.0, 1.5]);
    assert_eq!((t.arrivals[1].input, t.arrivals[1].output, t.arrivals[1].model), (396, 109, ModelId(1)));
}

#[test]
fn a_servegen_trace_keeps_its_clients() {
    let t = read("t_ms,client_id,input_tokens,output_tokens\n0,95,252,157\n67,25,1994,469\n").unwrap();
    assert_eq!(secs(&t), [0.0, 0.067]);
    assert_eq!(t.arrivals[0].client, 95);
    assert!(t.arrivals[1].prefix.is_empty());
}

#[test]
fn mooncake_blocks_are_a_chain_and_the_last_is_short() {
    let row = r#"{"timestamp": 0, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 2]}"#;
    let t = read(&format!("{row}\n{row}\n")).unwrap();
    let tokens: Vec<_> = t.arrivals[0].prefix.iter().map(|b| b.tokens).collect();
    assert_eq!(tokens, [512, 512, 6]);
    assert_eq!(t.arrivals[0].prefix, t.arrivals[1].prefix);
}

#[test]
fn mooncake_calls_are_spread_inside_their_tick() {
    let row = |ms: u64| format!("{{\"timestamp\": {ms}, \"input_length\": 9, \"output_length\": 5}}\n");
    let text: String = [0, 0, 0, 0, 3000, 3003, 5999, 9000].into_iter().map(row).collect();
    let at = secs(&read(&text).unwrap());
    assert!(at.is_sorted());
    assert!(at[3] < 3.0 && at[0] > 0.0 && at[3] - at[0] > 0.1, "{at:?}");
    assert!(at[4] >= 3.0 && at[5] < 5.999 && at[6] < 9.0 && at[7] < 12.0, "{at:?}");
    let fine: String = [0, 0, 17, 3000].into_iter().map(row).collect();
    assert_eq!(secs(&read(&fine).unwrap()), [0.0, 0.0, 0.017, 3.0], "not a trace of ticks");
}

#[test]
fn a_mooncake_conversation_begins_with_its_first_uncommon_block() {
    let row = |i: u32| {
        let own = i / 2 + 1;
        format!("{{\"timestamp\":0,\"input_length\":1000,\"output_length\":5,\"hash_ids\":[0,{own}]}}\n")
    };
    let t = read(&(0..20).map(row).collect::<String>()).unwrap();
    let sessions: Vec<_> = t.arrivals.iter().map(|a| a.session.unwrap()).collect();
    assert_eq!(sessions[0], sessions[1]);
    assert_ne!(sessions[1], sessions[2]);
    assert_eq!(t.arrivals[0].class, t.arrivals[1].class);
}

#[test]
fn our_own_form_takes_its_columns_in_any_order() {
    let text = "model,at_s,output,input,session,class,client\nlarge,0.25,3,100,a,agent,4\n,1.5,3,200,a,,\n";
    let t = read(text).unwrap();
    let [a, b] = &t.arrivals[..] else { panic!("{t:?}") };
    assert_eq!((a.model, a.class, a.client, a.input, a.output), (ModelId(0), ClassId(1), 4, 100, 3));
    assert_eq!((b.model, b.client), (ModelId(1), 0));
    assert_eq!(a.session, b.session);
    assert_eq!(a.prefix[0].hash, b.prefix[0].hash);
    assert_eq!((a.prefix[0].tokens, b.prefix[0].tokens), (100, 200));
}

#[test]
fn a_bad_trace_is_told_by_line_with_a_remedy() {
    for (text, want) in [
        ("", "not the first line of any known trace"),
        ("a,b\n", "not the first line of any known trace; give the columns a header"),
        ("at_s,input,output\n", "t.csv: no calls; a trace has one row a call"),
        ("at_s,input\n", "t.csv:1: column output is missing"),
        ("at_s,input,output,input\n", "t.csv:1: column input comes twice"),
        ("at_s,input,output,sesion\n", "t.csv:1: no column is called `sesion`; did you mean `session`?"),
        ("at_s,input,output\n0,1,1\n\n0,x,1\n", "t.csv:4: `x` in column input is not a whole number"),
        ("at_s,input,output\n0,0,1\n", "t.csv:2: input is 0 tokens; leave out"),
        ("at_s,input,output\n0,1,10000001\n", "t.csv:2: output is 10000001 tokens, more than 10000000"),
        ("at_s,input,output\n0,1\n", "t.csv:2: 2 cells where 3 belong"),
        ("at_s,input,output\n2.5,1,1\n1,1,1\n", "t.csv:3: time goes back by 1.5 s"),
        ("at_s,input,output\n-1,1,1\n", "t.csv:2: `-1` in column at_s is not a number of seconds"),
        ("at_s,input,output\nNaN,1,1\n", "t.csv:2: `NaN` in column at_s"),
        ("at_s,input,output\n1700158546,1,1\n", "t.csv:2: at_s is 1700158546 s, more than a year"),
        (
            "at_s,input,output,class\n0,1,1,agnet\n",
            "t.csv:2: no class is called `agnet`; did you mean `agent`?",
        ),
        (
            "at_s,input,output,model\n0,1,1,zzzzzzzz\n",
            "no model is called `zzzzzzzz`; models are large, small",
        ),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n",
            "t.csv:2: `yesterday` in column TIMESTAMP",
        ),
        ("t_ms,client_id,input_tokens,output_tokens\n0,-1,1,1\n", "`-1` in column client_id"),
        (
            "t_ms,client_id,input_tokens,output_tokens\n99999999999999,1,1,1\n",
            "more than a year after the start",
        ),
        (
            "{\"timestamp\": 1, \"input_length\": 2}\n",
            "t.csv:1: not a row of a Mooncake trace: missing field",
        ),
        (
            "{\"timestamp\":0,\"input_length\":5,\"output_length\":1,\"hash_ids\":[1,2]}\n",
            "2 blocks for a prompt of 5 tokens",
        ),
    ] {
        let said = read(text).unwrap_err().to_string();
        assert!(said.contains(want), "{said}\nwant: {want}");
    }
}

#[test]
fn an_azure_trace_says_how_far_time_goes_back() {
    let text =
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5,1,1\n2023-11-16 18:15:44,1,1\n";
    assert!(read(text).unwrap_err().to_string().contains("t.csv:3: time goes back by 2.5 s"));
}

#[test]
fn classes_come_in_the_shares_of_the_mix() {
    let mix = Mix::of(&catalog());
    let mut counts = [0u32; 3];
    for number in 0..100_000 {
        counts[mix.draw(3, number).index()] += 1;
    }
    for (count, want) in counts.iter().zip([50_000u32, 30_000, 20_000]) {
        assert!(count.abs_diff(want) < 600, "{counts:?}");
    }
}

#[test]
fn a_mix_without_the_usual_classes_is_the_default_class() {
    let mut other = catalog();
    other.classes.iter_mut().for_each(|c| c.name = Arc::from("mine"));
    other.default_class = ClassId(2);
    assert_eq!(Mix::of(&other).draw(1, 1), ClassId(2));
    assert_eq!(Mix::new(&[(ClassId(0), 0.0)]), None);
    assert_eq!(Mix::new(&[(ClassId(0), f64::NAN)]), None);
}

#[test]
fn the_public_traces_have_all_their_rows() {
    for (file, rows) in [(AZURE, 19_366), (MOONCAKE, 12_031), (SERVEGEN, 431_265)] {
        let Some(t) = shared(file) else { return };
        assert_eq!(t.arrivals.len(), rows, "{file}");
        assert!(t.arrivals.is_sorted_by_key(|a| a.at), "{file}");
    }
}

/// What was found in them by other means, with other code.
#[test]
fn the_facts_of_the_public_traces_are_those_that_are_known() {
    let Some(azure) = shared(AZURE) else { return };
    let facts = Facts::of(&azure);
    close(facts.gap_cv, 1.094, 0.001);
    close(facts.rate, 5.53, 0.01);
    close(facts.input.mean, 1155.0, 1.0);
    close(facts.output.mean, 211.0, 1.0);
    assert_eq!((facts.shareable, facts.sessions), (0.0, 0));
    let Some(mooncake) = shared(MOONCAKE) else { return };
    let facts = Facts::of(&mooncake);
    close(facts.shareable, 0.3736, 0.0001);
    assert!(facts.gap_cv < 1.2, "{}: bursts at the ticks are gone", facts.gap_cv);
    close(facts.rate, 3.40, 0.01);
    close(facts.input.mean, 12_035.0, 1.0);
    close(facts.output.mean, 343.0, 1.0);
    assert_eq!(facts.sessions, 7373);
}
