//! What all scripts have in common: lines that are said again, commands up to a rule, and the trace below it up to an empty line.

use std::fmt::Write as _;

/// The same text, with what `block` says to the commands of each block as its trace.
pub fn retrace(text: &str, mut block: impl FnMut(&[String]) -> String) -> String {
    let mut out = String::new();
    let mut commands = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "----" {
            let _ = writeln!(out, "----\n{}", block(&commands));
            commands.clear();
            // The old trace ends at an empty line.
            for old in lines.by_ref() {
                if old.is_empty() {
                    let _ = writeln!(out);
                    break;
                }
            }
            continue;
        }
        let _ = writeln!(out, "{line}");
        if !line.starts_with('#') && !line.is_empty() {
            commands.push(line.to_owned());
        }
    }
    out.trim_end().to_owned() + "\n"
}

/// Every script of a folder, `least` of them at least, says what `run` makes of it; with `UPDATE=1` it is made to.
pub fn all_say_what_they_say(folder: &str, least: usize, run: impl Fn(&str) -> String) {
    let dir = format!("{}/scripts/{folder}", env!("CARGO_MANIFEST_DIR"));
    let update = std::env::var_os("UPDATE").is_some();
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(update || files.len() >= least, "only {} scripts", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# "), "{}: the first line is the claim", file.display());
        let now = run(&text);
        if now == text {
            continue;
        }
        if update {
            std::fs::write(&file, now).unwrap();
        } else {
            wrong.push(format!("{}:\n{}", file.display(), first_difference(&text, &now)));
        }
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE=1 rewrites the traces)", wrong.join("\n"));
}

fn first_difference(old: &str, new: &str) -> String {
    let at = old.lines().zip(new.lines()).take_while(|(a, b)| a == b).count();
    let show = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
    format!("  line {}:\n  - {}\n  + {}", at + 1, show(old), show(new))
}
