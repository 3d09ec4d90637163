//! A real server as the judge of `jsonb`: what it makes of a document is what we make of it.

use crate::text_oracle::{Random, Server};
use migrate_core::value::jsonb;
use std::borrow::Cow;

#[tokio::test]
async fn jsonb_is_what_the_server_makes_of_it() {
    let mut random = Random::new();
    let mut server = Server::connect().await;
    let mut texts: Vec<String> = [
        "",
        " ",
        "null",
        "true ",
        " [ ] ",
        "{}",
        "[1,2 , 3]",
        "{\"b\":1,\"a\":2,\"b\":3}",
        "{\"aa\":1,\"b\":2,\"\":0}",
        "{\"é\":1,\"zz\":2,\"z\":3}",
        "1e5",
        "1E400",
        "1.50",
        "-0",
        "-0.0",
        "-0e5",
        "0e-7",
        "1e-7",
        "1.0e+2",
        "1e131072",
        "1e-16384",
        "01",
        "1.",
        ".1",
        "+1",
        "-",
        "1e",
        "--1",
        "1a",
        "\"\\u00e9\\u0041\\n\\/\\\"\\\\\\b\\f\\r\\t\"",
        "\"\\u0000\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\n\"",
        "\"\\ud83d\\ud83d\"",
        "\"\\u001f\\u007f\\u0080\"",
        "\"\u{7f}\u{80}\u{2028}\"",
        "\"\\uD83D\\uDE00\"",
        "\"\\u12\"",
        "\"\\x\"",
        "\"a\nb\"",
        "\"\t\"",
        "\"",
        "\"\\\"",
        "[",
        "]",
        "{",
        "}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "{1:1}",
        "nul",
        "nullx",
        "True",
        "NaN",
        "Infinity",
        "[1]]",
        "1 2",
        "'a'",
        "\u{feff}1",
        "\u{a0}1",
        "[\u{b}1]",
        "{\"a\\u0062\":1,\"ab\":2}",
        "{\"a\":{\"z\":1,\"b\":[{\"y\":1,\"x\":2}]},\"A\":0}",
        "{\"k\":{\"b\":1,\"a\":1},\"k\":{\"d\":1,\"c\":1}}",
    ]
    .map(str::to_owned)
    .into();
    texts.push(format!("{}{}", "[".repeat(3_000), "]".repeat(3_000)));
    texts.push(format!("{}1{}", "{\"b\":0,\"a\":".repeat(1_000), "}".repeat(1_000)));
    for _ in 0..15_000 {
        let mut text = String::new();
        document(&mut random, 4, &mut text);
        // Every third one is damaged somewhere.
        if random.below(3) == 0 {
            let at = random.below(text.chars().count() as u64 + 1) as usize;
            let mut chars: Vec<char> = text.chars().collect();
            match random.below(3) {
                0 if at < chars.len() => {
                    chars.remove(at);
                }
                1 => chars.insert(at, random.pick(&['"', '\\', ',', '{', ']', '0', 'e', '.', ' ', 'u', '-'])),
                _ => chars.truncate(at),
            }
            text = chars.into_iter().collect();
        }
        texts.push(text);
    }
    let binary = server.attempt("jsonb", &texts).await;
    let letters = server.attempt("json", &texts).await;
    let mut valid = 0;
    for ((text, binary), letters) in texts.iter().zip(binary).zip(letters) {
        valid += usize::from(binary.is_some());
        assert_eq!(jsonb::normalize(text).ok().map(Cow::into_owned), binary, "{text}");
        assert_eq!(jsonb::is_json(text), letters.is_some(), "{text}");
        if let Some(normal) = binary {
            assert!(matches!(jsonb::normalize(&normal), Ok(Cow::Borrowed(_))), "{normal}");
        }
    }
    println!("jsonb: {valid} of {} texts valid", texts.len());
    assert!(valid > 5_000 && valid < texts.len() - 2_000);
}

/// Appends a random JSON document.
fn document(random: &mut Random, depth: u32, out: &mut String) {
    let blank = random.pick(&["", "", " ", "\n\t"]);
    out.push_str(blank);
    match random.below(if depth == 0 { 5 } else { 8 }) {
        0 => out.push_str(random.pick(&["null", "true", "false"])),
        1 | 2 => {
            let (whole, fraction, exponent) = (random.spread(), random.digits(6), random.within(-20, 20));
            out.push_str(
                &random
                    .pick(
                        &[
                            format!("{whole}"),
                            format!("{whole}.{fraction}"),
                            format!("{whole}e{exponent}"),
                            format!("-0.{fraction}E+{}", exponent.abs()),
                        ]
                        .each_ref(),
                    )
                    .clone(),
            );
        }
        3 | 4 => string(random, out),
        5 => {
            out.push('[');
            for index in 0..random.below(4) {
                if index > 0 {
                    out.push(',');
                }
                document(random, depth - 1, out);
            }
            out.push_str(blank);
            out.push(']');
        }
        _ => {
            out.push('{');
            for index in 0..random.below(6) {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(blank);
                string(random, out);
                out.push_str(blank);
                out.push(':');
                document(random, depth - 1, out);
            }
            out.push('}');
        }
    }
    out.push_str(blank);
}

fn string(random: &mut Random, out: &mut String) {
    out.push('"');
    for _ in 0..random.below(5) {
        out.push_str(random.pick(&[
            "a",
            "b",
            "B",
            "é",
            "😀",
            "\\n",
            "\\\"",
            "\\\\",
            "\\/",
            "\\u0041",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\\u0001",
            "/",
            " ",
            "{",
            "\u{7f}",
            "\\b",
            "\\ud800",
            "\\u0000",
            "aa",
        ]));
    }
    out.push('"');
}
