//! The menu of tasks: `cargo xtask TASK`. Each is thin: it calls what anybody could call, so that nobody has to remember
//! how. The checks that no linter knows live in [`tidy`] and [`rooms`].

mod repo;
mod rooms;
mod tidy;

use repo::Repo;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const MENU: &str = "\
cargo xtask TASK [ARGS]

  check            format, lints, tidy and purity: what to run before a commit
  test             every test of the workspace
  sim [ARGS]       the simulator, as in: cargo xtask sim --seeds 0..1000
  mutants          the planted bugs, and no other tests
  tidy             what no linter knows: file lengths, arrows between rooms, pages that must stay true
  purity           the deterministic rooms depend on nothing that knows time, chance, sockets, files or threads
  e2e [ARGS]       the real binary and real clients (e2e/run.sh)
  bench [ARGS]     pairs with etcd on one disk (bench/etcd/run.sh)
  ci [PARTS]       all that a change must pass (.ci/run)
  nightly [PARTS]  what takes longer (.ci/nightly)
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let root = root();
    let good = match task.as_str() {
        "check" => {
            cargo(&root, &["fmt", "--all", "--check"])
                && cargo(&root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
                && report(&tidy::check(&Repo::load(&root)))
                && report(&rooms::purity(&root))
        }
        "test" => cargo(&root, &["test", "--workspace"]),
        "sim" => {
            let mut all = vec!["run", "--release", "--quiet", "--", "sim"];
            all.extend(rest.iter().map(String::as_str));
            cargo(&root, &all)
        }
        "mutants" => {
            let planted = Repo::load(&root).with_mutants();
            let mut all = vec!["test"];
            all.extend(planted.iter().flat_map(|name| ["-p", name]));
            all.push("mutant");
            cargo(&root, &all)
        }
        "tidy" => report(&tidy::check(&Repo::load(&root))),
        "purity" => report(&rooms::purity(&root)),
        "e2e" => run(&root, "e2e/run.sh", &rest),
        "bench" => run(&root, "bench/etcd/run.sh", &rest),
        "ci" => run(&root, ".ci/run", &rest),
        "nightly" => run(&root, ".ci/nightly", &rest),
        "" | "help" | "--help" | "-h" => {
            print!("{MENU}");
            true
        }
        unknown => {
            eprintln!("error: no task is called {unknown:?}\n\n{MENU}");
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Prints findings; true if there are none.
fn report(findings: &[repo::Finding]) -> bool {
    for finding in findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        eprintln!("{} findings", findings.len());
    }
    findings.is_empty()
}

fn cargo(root: &Path, args: &[&str]) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    succeeded("cargo", Command::new(cargo).args(args).current_dir(root).status())
}

fn run(root: &Path, script: &str, args: &[String]) -> bool {
    succeeded(script, Command::new(root.join(script)).args(args).current_dir(root).status())
}

fn succeeded(what: &str, status: std::io::Result<std::process::ExitStatus>) -> bool {
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("error: {what} did not run: {error}");
            false
        }
    }
}
