//! Writes a history of a compare-and-set register, as lines of a log, that a real register could have given.
//!
//!     generate SEED OPERATIONS CLIENTS VALUES INFO_PERMILLE [bad]
//!
//! Each client asks, the register acts at a random moment within, the client hears. Values repeat. So many operations of a
//! thousand are never answered; half of them took effect. With `bad`, one read in the last tenth hears another value.

use std::io::{BufWriter, Write};

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

#[derive(Clone, Copy)]
enum Ask {
    Read,
    Write(u64),
    Cas(u64, u64),
}

enum Client {
    Idle,
    Asked(Ask),
    /// It took effect, and this will be heard.
    Done(Ask, Option<u64>, bool),
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let number = |place: usize, or: u64| args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(or);
    let (seed, operations, clients) = (number(1, 1), number(2, 10_000), number(3, 32) as usize);
    let (values, info) = (number(4, 5), number(5, 10));
    let bad = args.get(6).is_some_and(|arg| arg == "bad");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut register: Option<u64> = None;
    let mut client: Vec<Client> = (0..clients).map(|_| Client::Idle).collect();
    let mut names: Vec<usize> = (0..clients).collect();
    let (mut asked, mut spoiled) = (0, !bad);
    while asked < operations || client.iter().any(|client| !matches!(client, Client::Idle)) {
        let who = dice.below(clients as u64) as usize;
        let name = names[who];
        client[who] = match client[who] {
            Client::Idle if asked < operations => {
                asked += 1;
                let value = dice.below(values);
                let ask = match dice.below(3) {
                    0 => Ask::Read,
                    1 => Ask::Write(value),
                    _ => Ask::Cas(dice.below(values), value),
                };
                match ask {
                    Ask::Read => writeln!(out, "{name}\t:invoke\t:read\tnil")?,
                    Ask::Write(value) => writeln!(out, "{name}\t:invoke\t:write\t{value}")?,
                    Ask::Cas(old, new) => writeln!(out, "{name}\t:invoke\t:cas\t[{old} {new}]")?,
                }
                Client::Asked(ask)
            }
            Client::Idle => Client::Idle,
            Client::Asked(ask) => {
                let lost = dice.below(1000) < info;
                if lost && dice.below(2) == 0 {
                    forget(&mut out, name, ask)?;
                    names[who] += clients;
                    Client::Idle
                } else {
                    let (mut heard, mut fits) = (register, true);
                    match ask {
                        Ask::Read if !spoiled && asked * 10 > operations * 9 => {
                            spoiled = true;
                            heard = Some(register.map_or(0, |value| (value + 1) % values));
                        }
                        Ask::Read => {}
                        Ask::Write(value) => register = Some(value),
                        Ask::Cas(old, new) => {
                            fits = register == Some(old);
                            register = if fits { Some(new) } else { register };
                        }
                    }
                    if lost {
                        forget(&mut out, name, ask)?;
                        names[who] += clients;
                        Client::Idle
                    } else {
                        Client::Done(ask, heard, fits)
                    }
                }
            }
            Client::Done(ask, heard, fits) => {
                match (ask, heard) {
                    (Ask::Read, None) => writeln!(out, "{name}\t:ok\t:read\tnil")?,
                    (Ask::Read, Some(value)) => writeln!(out, "{name}\t:ok\t:read\t{value}")?,
                    (Ask::Write(value), _) => writeln!(out, "{name}\t:ok\t:write\t{value}")?,
                    (Ask::Cas(old, new), _) => {
                        writeln!(out, "{name}\t:{}\t:cas\t[{old} {new}]", if fits { "ok" } else { "fail" })?;
                    }
                }
                Client::Idle
            }
        };
    }
    out.flush()
}

fn forget(out: &mut impl Write, name: usize, ask: Ask) -> std::io::Result<()> {
    let f = match ask {
        Ask::Read => "read",
        Ask::Write(_) => "write",
        Ask::Cas(..) => "cas",
    };
    writeln!(out, "{name}\t:info\t:{f}\t:timed-out")
}
