//! What the README tells to type, typed.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{Scratch, eventually, free_address, output, quorate, send};
use rustix::process::Signal;
use std::process::{Child, Stdio};

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The commands in the indented blocks of a section, with their continued lines joined, without their first word.
fn commands(section: &str) -> Vec<Vec<String>> {
    let readme = include_str!("../../../README.md");
    let text = readme.split_once(&format!("## {section}\n")).unwrap().1.split("\n## ").next().unwrap();
    let joined = text.replace(" \\\n", " ");
    let lines = joined.lines().filter_map(|line| line.strip_prefix("    quorate "));
    lines.map(|line| line.split_whitespace().map(ToString::to_string).collect()).collect()
}

/// Claim: the commands of "Three machines", with other addresses and directories, are a cluster that serves on after one is stopped.
#[test]
fn three_machines_are_deployed_as_the_readme_tells() {
    let scratch = Scratch::new("readme");
    let free: Vec<String> = (0..6).map(|_| free_address()).collect();
    let address = |at: usize| free[at].clone();
    let here: Vec<(String, String)> = (1..=3)
        .flat_map(|n| {
            [(format!("10.0.0.{n}:2379"), address(n - 1)), (format!("10.0.0.{n}:7100"), address(n + 2))]
        })
        .collect();
    let placed =
        |word: &str| here.iter().fold(word.to_string(), |word, (there, here)| word.replace(there, here));
    let told = commands("Three machines");
    let [serve, status, put] = &told[..] else { panic!("{told:?}") };
    let of_node = |n: usize| -> Vec<String> {
        let mut args: Vec<String> = serve.clone();
        for (flag, value) in [
            ("--node", n.to_string()),
            ("--data", scratch.path(&format!("n{n}"))),
            ("--etcd", format!("10.0.0.{n}:2379")),
            ("--peer", format!("10.0.0.{n}:7100")),
        ] {
            let at = args.iter().position(|arg| arg == flag).unwrap();
            args[at + 1] = value;
        }
        args.iter().map(|arg| placed(arg)).collect()
    };
    let placed_all = |args: &[String]| args.iter().map(|arg| placed(arg)).collect::<Vec<_>>();
    let (status, put) = (placed_all(status), placed_all(put));
    let run = |args: &[String]| output(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let commands: Vec<_> = (1..=3).map(of_node).collect();
    let start = |args: &[String]| {
        Node(quorate(&[]).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let mut nodes: Vec<Node> = commands.iter().map(|args| start(args)).collect();
    eventually("all three are healthy", || run(&status).0 == 0);
    assert_eq!(run(&put).0, 0);

    send(i64::from(nodes[0].0.id()), Signal::TERM);
    assert!(nodes[0].0.wait().unwrap().success());
    eventually("the two others serve", || run(&put).0 == 0);
    assert_eq!(run(&status).0, 1, "one is away");

    let printed = [&commands[0][..], &["--print-config".to_string()]].concat();
    let (code, file, _) = run(&printed);
    assert_eq!(code, 0);
    scratch.write("n1.toml", &file);
    nodes[0] = start(&["serve".into(), "--config".into(), scratch.path("n1.toml")]);
    eventually("it is back, from a file", || run(&status).0 == 0);
}
