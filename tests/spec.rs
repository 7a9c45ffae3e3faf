//! SPEC.md against the code: tables, constants, codes and the worked example say the same in both.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use cairnfile::element::{self, Number};
use cairnfile::{Code, DType, Dict, Key, Level, MAGIC, Named, Tensor, VERSION, Value, WriteOptions, hard_limits as limits};

fn spec() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/SPEC.md")).unwrap()
}

/// The text from the heading that begins with `heading` to the next one of the same or a higher level.
fn section(heading: &str) -> String {
    let depth = heading.chars().take_while(|c| *c == '#').count();
    let text = spec();
    let mut lines = text.lines().skip_while(|line| !line.starts_with(heading));
    let first = lines.next().unwrap_or_else(|| panic!("SPEC.md has no {heading:?}"));
    let ends = |line: &&str| {
        let level = line.chars().take_while(|c| *c == '#').count();
        (1..=depth).contains(&level) && line.chars().nth(level) == Some(' ')
    };
    std::iter::once(first).chain(lines.take_while(|line| !ends(line))).collect::<Vec<_>>().join("\n")
}

/// The rows of the table whose header line begins with `header`, cell by cell.
fn table(text: &str, header: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let rows: Vec<Vec<String>> = lines.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "no table {header:?}");
    rows
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn unquoted(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|c| c.strip_suffix('`')).unwrap_or_else(|| panic!("{cell:?} is not `quoted`"))
}

/// All `quoted` words of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn code(name: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.name() == name)
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{pair:?} in {text:?}"))).collect()
}

#[test]
fn the_table_of_errors_is_that_of_the_code() {
    let rows = table(&section("## 15 "), "| code | class | level |");
    let expected: Vec<Vec<String>> = Code::ALL
        .iter()
        .map(|code| {
            let section = if code.section().is_empty() { "-".to_owned() } else { format!("§{}", code.section()) };
            [&format!("`{code}`"), code.class().name(), code.level().letter(), &section, code.meaning()].map(str::to_owned).to_vec()
        })
        .collect();
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(row, expected);
    }
    assert_eq!(rows.len(), expected.len());
}

#[test]
fn the_table_of_classes_is_that_of_the_code() {
    let rows = table(&section("## 15 "), "| class | meaning | what to do |");
    let named: Vec<&str> = rows.iter().map(|row| unquoted(&row[0])).collect();
    let used: BTreeSet<&str> = Code::ALL.iter().map(|code| code.class().name()).collect();
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), used);
    assert_eq!(named.len(), used.len());
}

#[test]
fn every_code_in_the_text_exists() {
    let text = spec();
    let mut seen = 0;
    for part in text.split("[`").skip(1) {
        // The brackets around the codes of a rule; `[code]` itself is explained so, too.
        let inside = part.split(']').next().unwrap();
        for name in quoted(&format!("`{inside}")) {
            assert!(code(name).is_some(), "[`{name}`] is not a code");
            seen += 1;
        }
    }
    assert!(seen > 120, "{seen} codes in brackets");
    // Columns of refusals.
    let mut column = None;
    for line in text.lines() {
        if !line.starts_with('|') {
            column = None;
        } else if let Some(at) = column {
            let cell = cells(line).get::<usize>(at).cloned().unwrap_or_default();
            quoted(&cell).for_each(|name| assert!(code(name).is_some(), "{name:?} in {line:?} is not a code"));
        } else {
            column = cells(line).iter().position(|cell| ["refusal", "code above", "code"].contains(&cell.as_str()));
        }
    }
}

#[test]
fn every_code_about_files_is_explained() {
    let text = spec();
    let table = section("## 15 ");
    let (before, after) = text.split_once(table.as_str()).unwrap();
    let mentioned: BTreeSet<&str> = quoted(before).chain(quoted(after)).collect();
    for code in Code::ALL.iter().filter(|code| code.level() != Level::Call) {
        assert!(mentioned.contains(code.name()), "`{code}` stands only in the table");
    }
    // In the section that the code names, or in the part of it that has no number of its own.
    for code in Code::ALL.iter().filter(|code| code.level() != Level::Call) {
        let heading = format!("{} {} ", if code.section().contains('.') { "###" } else { "##" }, code.section());
        assert!(quoted(&section(&heading)).any(|name| name == code.name()), "§{} does not mention `{code}`", code.section());
    }
}

#[test]
fn the_table_of_dtypes_is_that_of_the_code() {
    let rows = table(&section("## 10 "), "| name | class | elements | bytes | alignment |");
    let expected: Vec<DType> = DType::registered().collect();
    for (row, dtype) in rows.iter().zip(&expected) {
        let geometry = dtype.geometry();
        let numbers = [u64::from(geometry.elements), u64::from(geometry.bytes), geometry.alignment()].map(|n| n.to_string());
        assert_eq!(unquoted(&row[0]), dtype.name());
        assert_eq!((row[1].as_str(), &row[2..5]), (geometry.class.name(), &numbers[..]), "{dtype}");
    }
    assert_eq!(rows.len(), expected.len());
}

/// The columns of examples, decoded.
#[test]
fn the_examples_of_dtypes_are_one_and_minus_one() {
    let rows = table(&section("## 10 "), "| name | class | elements | bytes | alignment |");
    let mut seen = 0;
    for (row, dtype) in rows.iter().zip(DType::registered()) {
        for (cell, expected) in [(&row[6], 1.0f64), (&row[7], -1.0)] {
            if cell.is_empty() {
                continue;
            }
            let mut bytes = hex(cell.trim_matches('`').split(',').next().unwrap());
            if cell.contains("then 8 × 00") {
                bytes.extend([0; 8]);
            }
            assert_eq!(bytes.len(), dtype.geometry().bytes as usize, "{dtype}");
            let found = match element::decode(&dtype, &bytes, 0).unwrap() {
                Number::Bool(b) => f64::from(u8::from(b)),
                Number::Int(n) => n as f64,
                Number::UInt(n) => n as f64,
                Number::Float(x) => x,
                Number::Complex(re, im) => {
                    assert_eq!(im.to_bits(), 0, "{dtype}");
                    re
                }
            };
            assert_eq!(found.to_bits(), expected.to_bits(), "{dtype} {cell}");
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} examples");
}

#[test]
fn the_limits_are_those_of_the_code() {
    let rows = table(&section("## 16 "), "| name | hard limit of the format |");
    let stated: BTreeMap<String, String> = rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let expected = [
        ("file, buffer and tensor length in bytes", limits::MAX_LEN),
        ("index length in bytes", limits::MAX_INDEX_LEN),
        ("shortest index in bytes", limits::MIN_INDEX_LEN),
        ("shortest file in bytes", limits::MIN_FILE_LEN),
        ("header and trailer length in bytes", limits::HEADER_LEN),
        ("block size exponent, least", limits::MIN_BLOCK_LOG2.into()),
        ("block size exponent, most", limits::MAX_BLOCK_LOG2.into()),
        ("block size exponent, default of writers", limits::DEFAULT_BLOCK_LOG2.into()),
        ("rank", limits::MAX_RANK as u64),
        ("dtype name and type name in bytes", limits::MAX_NAME_LEN as u64),
        ("bytes per group", limits::MAX_GROUP_BYTES.into()),
        ("depth of values", limits::MAX_DEPTH.into()),
        ("key bytes along a path", limits::MAX_PATH_LEN.into()),
        ("bytes value in bytes", limits::MAX_INLINE_BYTES as u64),
        ("big int in bytes", limits::MAX_BIGINT_BYTES as u64),
    ];
    for (name, value) in expected {
        assert_eq!(stated.get(name).map(String::as_str), Some(value.to_string().as_str()), "{name}");
    }
    let without_number = ["extensions, dtypes, buffers, tensors, items"];
    let known: BTreeSet<&str> = expected.iter().map(|row| row.0).chain(without_number).collect();
    assert_eq!(stated.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_constants_of_the_layout_are_those_of_the_code() {
    let rows = table(&section("### 5.2 "), "| name | value | meaning |");
    let stated: Vec<(&str, u64)> = rows.iter().map(|row| (unquoted(&row[0]), row[1].parse().unwrap())).collect();
    let expected = [("PART_ALIGN", limits::PART_ALIGN), ("LARGE_BUFFER", limits::LARGE_BUFFER), ("LARGE_ALIGN", limits::LARGE_ALIGN)];
    assert_eq!(stated, expected);

    let header = section("## 6 ");
    let rows = table(&header, "| offset | size | type | field |");
    let row = |field: &str| rows.iter().find(|row| row[3] == field).unwrap_or_else(|| panic!("no field {field}"));
    assert_eq!(hex(unquoted(&row("magic")[4])), MAGIC);
    assert_eq!(row("version")[4], VERSION.to_string());
    assert_eq!(row("block size, as a power of two")[4], format!("{} to {}", limits::MIN_BLOCK_LOG2, limits::MAX_BLOCK_LOG2));
    assert_eq!(row("file length")[4], format!("{} to 2^63−1", limits::MIN_FILE_LEN));
    assert_eq!(row("index length")[4], format!("{} to 2^29−8", limits::MIN_INDEX_LEN));
    assert_eq!((limits::MAX_LEN, limits::MAX_INDEX_LEN), ((1 << 63) - 1, (1 << 29) - 8));
    // The fields fill the header without gaps.
    let end = rows.iter().fold(0, |at, row| {
        assert_eq!(row[0], at.to_string(), "{row:?}");
        at + row[1].parse::<u64>().unwrap()
    });
    assert_eq!(end, limits::HEADER_LEN);

    let default = format!("A writer SHOULD use {} ({} bytes)", limits::DEFAULT_BLOCK_LOG2, thousands(1 << limits::DEFAULT_BLOCK_LOG2));
    assert!(section("### 6.6 ").contains(&default), "§6.6 does not say {default:?}");
    assert!(section("### 6.1 ").lines().count() > 1 && header.contains("2^29−8 = 536,870,904"));
    let bytes = cairnfile::to_bytes(&Value::Null, &WriteOptions::new()).unwrap();
    assert_eq!((bytes[12], &bytes[8..10]), (limits::DEFAULT_BLOCK_LOG2, &VERSION.to_le_bytes()[..]));
}

fn thousands(n: u64) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", thousands(n / 1000), n % 1000) }
}

/// One value for each row, and the tag that the writer gives it.
#[test]
fn the_table_of_tags_is_what_is_written() {
    let rows = table(&section("### 9.1 "), "| tag | value | fields after the tag |");
    let tensor = Tensor::from_vec(&[1], vec![1u8]).unwrap();
    let values = [
        ("null", Value::Null),
        ("false", Value::from(false)),
        ("true", Value::from(true)),
        ("int", Value::from(1i64)),
        ("big int", Value::integer(&[1; 9]).unwrap()),
        ("float", Value::from(1.0)),
        ("complex", Value::Complex(0.0, 1.0)),
        ("str", Value::from("s")),
        ("bytes", Value::from(vec![1u8])),
        ("list", Value::List(vec![])),
        ("tuple", Value::Tuple(vec![])),
        ("dict", Value::from(Dict::new())),
        ("named", Value::from(Named::new("a.b", Value::Null).unwrap())),
        ("tensor", Value::from(tensor)),
    ];
    for (number, ((name, value), row)) in (1u8..).zip(values.iter().zip(&rows)) {
        // A list's only item begins where the fields of the list end, at the end of the index.
        let list = Value::List(vec![Value::Null, value.clone()]);
        let bytes = cairnfile::to_bytes(&list, &WriteOptions::new()).unwrap();
        let end = 64 + usize::try_from(u64::from_le_bytes(bytes[32..40].try_into().unwrap())).unwrap();
        let head = bytes[..end].windows(5).rposition(|w| w == [0x0A, 2, 0, 0, 0]).unwrap();
        let tag = bytes[head + 10];
        assert_eq!((row[0].as_str(), row[1].as_str()), (format!("{tag:#04X}").replace("0X", "0x").as_str(), *name));
        assert_eq!(tag, number);
    }
    assert_eq!(rows.len(), values.len());
    assert!(section("### 9.1 ").contains("The tag MUST be from 0x01 to 0x0E"));
    // Keys are spelled like values.
    let keys = [(Key::from(1), "0x04"), (Key::from("k"), "0x08"), (Key::from(&b"k"[..]), "0x09")];
    for (key, tag) in keys {
        let bytes = cairnfile::to_bytes(&Value::from(Dict::from_iter([(key, Value::Null)])), &WriteOptions::new()).unwrap();
        let head = bytes.windows(5).position(|w| w == [0x0C, 1, 0, 0, 0]).unwrap();
        assert_eq!(format!("{:#04x}", bytes[head + 9]), tag);
        assert!(section("### 9.4 ").contains(tag));
    }
}

#[test]
fn the_registered_type_names_are_those_of_the_code() {
    let rows = table(&section("### 9.5 "), "| registered type name | value | stands for |");
    let stated: Vec<&str> = rows.iter().map(|row| unquoted(&row[0])).collect();
    let expected: Vec<&str> = std::iter::once("bytes").chain(Named::REGISTERED.iter().copied()).collect();
    assert_eq!(stated, expected);
}

#[test]
fn the_checksum_is_the_one_described() {
    let rows = table(&section("### 11.1 "), "| parameter | value |");
    let value = |name: &str| rows.iter().find(|row| row[0].starts_with(name)).unwrap()[1].clone();
    assert_eq!(value("check"), format!("0x{:08X}", cairnfile::crc32(b"123456789")));
    assert_eq!(value("CRC of no bytes"), format!("0x{:08X}", cairnfile::crc32(b"")));
}

#[test]
fn every_section_that_is_referred_to_exists() {
    let text = spec();
    let headings: BTreeSet<&str> =
        text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))).collect();
    let exists = |number: &str| headings.iter().any(|heading| heading.split(' ').next() == Some(number));
    for part in text.split('§').skip(1) {
        let number: String = part.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let number = number.trim_end_matches('.');
        assert!(number.is_empty() || exists(number), "§{number} does not exist");
    }
}

/// Lines of `offset  bytes  meaning` in the fenced blocks of the region: all bytes of the file, each once, in order.
#[test]
fn the_worked_example_is_the_file() {
    let text = spec();
    let region = text.split_once("<!-- worked-example:begin -->").and_then(|(_, rest)| rest.split_once("<!-- worked-example:end -->"));
    let (region, _) = region.expect("SPEC.md marks the region of the worked example");
    let fenced = region.split("```").skip(1).step_by(2);
    let mut listed = Vec::new();
    for line in fenced.flat_map(str::lines) {
        let Some((offset, rest)) = line.split_at_checked(8).filter(|(o, _)| o.bytes().all(|b| b.is_ascii_hexdigit())) else { continue };
        assert_eq!(usize::from_str_radix(offset, 16).unwrap(), listed.len(), "a gap or an overlap before {line:?}");
        // Pairs of digits, one space between them; two spaces end them.
        let bytes = rest.trim_start().split("  ").next().unwrap();
        listed.extend(hex(bytes));
    }
    let expected = support::example::worked_example().unwrap();
    let how = "fill it with the output of: cargo run --example worked_example -- example.cairn && cairn dump --all example.cairn";
    assert!(!listed.is_empty(), "the worked example is empty: {how}");
    let differs = listed.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!((differs, listed.len()), (None, expected.len()), "the worked example is not the file: {how}");
}

#[test]
fn the_worked_example_is_what_it_says() {
    let bytes = support::example::worked_example().unwrap();
    let cairn = cairnfile::Cairn::from_bytes(&bytes).unwrap();
    assert!(cairn.verify(&|_| Ok(())).unwrap().is_intact());
    assert!(!cairn.is_streamed());
    assert_eq!(cairn.tensor("/weight").unwrap().read().unwrap().as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(cairn.tensor("/bias").unwrap().read().unwrap().as_slice::<f32>().unwrap(), [0.5, -0.5]);
    assert_eq!(cairn.get("/layers/1").unwrap().load().unwrap(), Value::from(2i64));
    assert_eq!(cairn.metadata().get("made by").unwrap().load().unwrap(), Value::from("hand"));
}
