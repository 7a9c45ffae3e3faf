//! Exit codes, pipes, and names that would act on a terminal.

mod support;

use std::io::Read;
use std::process::Stdio;

use cairnfile::{Dict, Value};
use support::{Dir, f32s, model};

const COMMANDS: [&str; 11] = ["demo", "convert", "ls", "info", "dump", "verify", "get", "diff", "repair", "merge", "extract"];

#[test]
fn help_shows_examples_and_exit_codes() {
    let dir = Dir::new();
    assert!(dir.cairn(&["--help"]).expect(0).out.contains("Exit codes:"));
    for command in COMMANDS {
        let help = dir.cairn(&[command, "--help"]).expect(0).out;
        assert!(help.contains("Examples:") && help.contains(&format!("cairn {command}")), "{help}");
    }
    assert!(dir.cairn(&["--version"]).expect(0).out.starts_with("cairn "));
}

#[test]
fn wrong_use_is_2() {
    let dir = Dir::new();
    dir.save("m.cairn", &model());
    for args in [&["nonsense"][..], &["ls"], &["ls", "m.cairn", "--nonsense"], &["ls", "m.cairn", "/nothing"], &["get", "m.cairn", "tied"]]
    {
        dir.cairn(args).expect(2);
    }
}

#[test]
fn newer_files_are_3() {
    let dir = Dir::new();
    dir.save("m.cairn", &model());
    let mut bytes = std::fs::read(dir.path("m.cairn")).unwrap();
    bytes[8] = 2;
    let crc = cairnfile::crc32(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    std::fs::write(dir.path("m.cairn"), bytes).unwrap();
    for command in ["ls", "info", "verify", "get"] {
        let run = dir.cairn(&[command, "m.cairn"]).expect(3);
        assert!(run.err.starts_with("cairn: m.cairn: ") && run.err.contains("version"), "{}", run.err);
        assert_eq!(run.err.lines().count(), 1);
    }
}

#[test]
fn refused_files_are_4_and_name_their_format() {
    let dir = Dir::new();
    for (bytes, name) in [(&b"GGUF\x03\0\0\0"[..], "GGUF"), (b"\x93NUMPY\x01\0", "NumPy"), (b"PK\x03\x04....", "zip")] {
        std::fs::write(dir.path("other"), bytes).unwrap();
        assert!(dir.cairn(&["ls", "other"]).expect(4).err.contains(name));
    }
    std::fs::write(dir.path("empty"), b"").unwrap();
    dir.cairn(&["verify", "empty"]).expect(4);
    dir.save("m.cairn", &model());
    dir.flip("m.cairn", 30);
    assert!(dir.cairn(&["verify", "m.cairn"]).expect(4).err.contains("cairn repair"));
}

#[test]
fn what_the_machine_refuses_is_5() {
    let dir = Dir::new();
    dir.save("m.cairn", &model());
    let run = dir.cairn(&["ls", "missing.cairn"]).expect(5);
    assert_eq!(run.err.matches("missing.cairn").count(), 1, "{}", run.err);
    dir.cairn(&["ls", "."]).expect(5);
    dir.cairn(&["get", "m.cairn", "/tied", "-o", "no/such/dir.cairn"]).expect(5);
}

/// Every command that prints names, on keys and texts that contain `nasty`.
fn outputs(nasty: &str) -> Vec<String> {
    let dir = Dir::new();
    let value = |x: f32| {
        let text = Value::from(nasty.to_owned());
        let inner = Dict::from_iter([(nasty, f32s(&[1], &[x])), ("text", text)]);
        Value::from(Dict::from_iter([(nasty.to_owned(), Value::from(inner))]))
    };
    let options = cairnfile::WriteOptions::new().metadata(Dict::from_iter([(nasty.to_owned(), nasty.to_owned())]));
    dir.save_with("a.cairn", &value(1.0), &options);
    dir.save("b.cairn", &value(2.0));
    dir.copy("b.cairn", "c.cairn");
    dir.flip("c.cairn", dir.data_start("c.cairn"));
    let commands: [(i32, &[&str]); 13] = [
        (0, &["ls", "a.cairn"]),
        (0, &["ls", "--flat", "a.cairn"]),
        (0, &["ls", "--json", "a.cairn"]),
        (0, &["ls", "--metadata", "a.cairn"]),
        (0, &["info", "a.cairn"]),
        (0, &["info", "--json", "a.cairn"]),
        (0, &["get", "a.cairn"]),
        (0, &["get", "--json", "a.cairn"]),
        (0, &["dump", "a.cairn"]),
        (1, &["diff", "a.cairn", "b.cairn"]),
        (1, &["diff", "--json", "a.cairn", "b.cairn"]),
        (1, &["verify", "c.cairn"]),
        (2, &["merge", "d.cairn", "a.cairn", "b.cairn"]),
    ];
    commands.iter().map(|(code, args)| dir.cairn(args).expect(*code)).flat_map(|run| [run.out, run.err]).collect()
}

#[test]
fn nothing_from_a_file_acts_on_the_terminal() {
    let nasty = "\u{1b}]0;x\u{7}\u{9b}31m\r\u{202e}\u{2028}\u{200b}\u{7f}";
    for text in outputs(nasty) {
        let acts = |c: char| (c.is_control() && c != '\n') || nasty.chars().any(|n| n == c && !c.is_ascii_graphic());
        assert!(!text.contains(acts), "{text:?}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let dir = Dir::new();
    let items: Vec<Value<'_>> = (0..20_000i64).map(Value::from).collect();
    dir.save("l.cairn", &items.into());
    for args in [&["ls", "l.cairn"][..], &["ls", "--json", "l.cairn"], &["get", "l.cairn"], &["dump", "l.cairn"]] {
        let mut child = dir.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn quiet_commands_say_nothing() {
    let dir = Dir::new();
    dir.save("m.cairn", &model());
    for args in
        [&["verify", "-q", "m.cairn"][..], &["diff", "-q", "m.cairn", "m.cairn"], &["extract", "-q", "m.cairn", "e.cairn", "/layers/2"]]
    {
        let run = dir.cairn(args).expect(0);
        assert_eq!((run.out.as_str(), run.err.as_str()), ("", ""));
    }
}
