use super::*;
use quorate_base::Rng;

/// The codes (RFC 7541, appendix B) of what stands in the tests' strings.
const CODES: [(u8, &str); 44] = [
    (b'0', "00000"),
    (b'1', "00001"),
    (b'2', "00010"),
    (b'a', "00011"),
    (b'c', "00100"),
    (b'e', "00101"),
    (b'i', "00110"),
    (b'o', "00111"),
    (b's', "01000"),
    (b't', "01001"),
    (b'%', "010101"),
    (b'-', "010110"),
    (b'.', "010111"),
    (b'/', "011000"),
    (b'3', "011001"),
    (b'7', "011101"),
    (b'9', "011111"),
    (b'=', "100000"),
    (b'_', "100010"),
    (b'd', "100100"),
    (b'h', "100111"),
    (b'l', "101000"),
    (b'm', "101001"),
    (b'n', "101010"),
    (b'p', "101011"),
    (b'r', "101100"),
    (b'u', "101101"),
    (b':', "1011100"),
    (b'k', "1110101"),
    (b'w', "1111000"),
    (b'x', "1111001"),
    (b'y', "1111010"),
    (b'z', "1111011"),
    (b',', "11111010"),
    (b';', "11111011"),
    (b'X', "11111100"),
    (b'!', "1111111000"),
    (b'?', "1111111100"),
    (b'+', "11111111011"),
    (b'#', "111111111010"),
    (b'@', "1111111111010"),
    (b'[', "1111111111011"),
    (b']', "1111111111100"),
    (b'~', "1111111111101"),
];

fn huffman(text: &str) -> Vec<u8> {
    let code = |byte| CODES.iter().find(|(b, _)| *b == byte).map(|(_, code)| *code).expect("a code");
    let mut bits: String = text.bytes().map(code).collect();
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    let byte = |at| u8::from_str_radix(&bits[at..at + 8], 2).expect("bits");
    (0..bits.len()).step_by(8).map(byte).collect()
}

fn text(bytes: &[u8], coded: bool) -> Vec<u8> {
    let length = bytes.len() as u8;
    // 127 and more goes on in a second byte.
    let mut out = if length < 127 { vec![length] } else { vec![127, length - 127] };
    out[0] |= if coded { 0x80 } else { 0 };
    out.extend_from_slice(bytes);
    out
}

/// A block as a client would send it: method, scheme, path, authority, and something behind.
fn block(authority: &str, coded: bool, name: &[u8]) -> Vec<u8> {
    let value = if coded { huffman(authority) } else { authority.as_bytes().to_vec() };
    let mut block = vec![0x83, 0x86, 0x3f, 0xe1, 0x1f, 0x44];
    block.extend(text(b"/etcdserverpb.Maintenance/Status", false));
    block.extend_from_slice(name);
    block.extend(text(&value, coded));
    block.extend([0x40]);
    block.extend(text(b"te", false));
    block.extend(text(b"trailers", false));
    block
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags, 0, 0, 0, 1]);
    out.extend_from_slice(payload);
    out
}

/// What comes out where this goes in, so many bytes at a time.
fn through(bytes: &[u8], step: usize, room: usize) -> (Vec<u8>, Filter) {
    let mut filter = Filter::default();
    let mut out = Vec::new();
    let drain = |filter: &mut Filter, out: &mut Vec<u8>| {
        loop {
            let mut space = vec![0; room];
            let mut buf = ReadBuf::new(&mut space);
            if !filter.give(&mut buf) {
                return;
            }
            out.extend_from_slice(buf.filled());
        }
    };
    for part in bytes.chunks(step) {
        filter.take(part);
        drain(&mut filter, &mut out);
    }
    filter.end();
    drain(&mut filter, &mut out);
    (out, filter)
}

/// All the ways to write the name of the field.
fn names() -> Vec<Vec<u8>> {
    let mut names = vec![vec![0x41], vec![0x01], vec![0x11]];
    for first in [0x40, 0x00, 0x10] {
        names.push([vec![first], text(b":authority", false)].concat());
        names.push([vec![first], text(&huffman(":authority"), true)].concat());
    }
    names
}

#[test]
fn what_is_no_host_becomes_one_in_every_form_of_a_literal() {
    let long = format!("http://{}:2379", "aa".repeat(70));
    let long_host = format!("httpx--{}x2379", "aa".repeat(70));
    for name in names() {
        for (sent, host) in [
            ("http://127.0.0.1:2379", "httpx--127.0.0.1x2379"),
            ("https://etcd.internal:2379", "httpsx--etcd.internalx2379"),
            ("http://[::1]:2379", "httpx--~xx1~x2379"),
            ("/run/etcd.sock", "-run-etcd.sock"),
            ("//tmp/w-x_y/X+~/k/", "--tmp-w-x_y-X+~-k-"),
            ("here/etcd.sock", "here-etcd.sock"),
            (long.as_str(), long_host.as_str()),
            // etcd's clients of 3.5.0, with one endpoint and with several.
            ("#initially=[127.0.0.1:2379]", "!xnitially=~127.0.0.1x2379~"),
            ("#initially=[http://a:2379;unix://k]", "!xnitially=~httpx--ax2379;unixx--k~"),
            // gRPC in C++ with several addresses, and with what it spells in percents.
            ("127.0.0.1:2379,127.0.0.1:12379", "127.0.0.1x2379,127.0.0.1x12379"),
            ("[::1]:2379,[::1]:12379", "~xx1~x2379,~xx1~x12379"),
            ("%2Frun%2Fetcd.sock".replace('F', "e").as_str(), "-2erun-2eetcd.sock"),
            ("who@[::1]:2379?", "who~~xx1~x2379!"),
        ] {
            for coded in [false, true] {
                let mut mended = block(sent, coded, &name);
                assert_eq!(mend(&mut mended), Found::Mended, "{sent} {coded} {name:?}");
                assert_eq!(mended, block(host, coded, &name), "{sent} {coded}");
                let mut again = mended.clone();
                assert_eq!(mend(&mut again), Found::Nothing, "it is right now");
                assert!(host.parse::<Authority>().is_ok());
            }
        }
    }
}

#[test]
fn a_host_is_left_as_it_is_and_so_is_what_cannot_become_one() {
    for text in
        ["127.0.0.1:2379", "[::1]:2379", "etcd", "who@h:1", "[::1%25e0]:1", "#", "a/#", "#x#", "", "/\u{e4}"]
    {
        let mut plain = block(text, false, &[0x41]);
        let same = plain.clone();
        assert_eq!(mend(&mut plain), Found::Nothing, "{text}");
        assert_eq!(plain, same, "{text}");
        if text.bytes().all(|byte| CODES.iter().any(|(known, _)| *known == byte)) {
            let mut coded = block(text, true, &[0x41]);
            let same = coded.clone();
            assert_eq!(mend(&mut coded), Found::Nothing, "{text}");
            assert_eq!(coded, same, "{text}");
        }
    }
}

/// Taken from etcdctl 3.4 with `--endpoints unix:///tmp/w-etcd-run/sock`.
#[test]
fn what_etcdctl_sends_through_a_socket_becomes_a_host() {
    let sent = [0x61, 0x34, 0xd6, 0xc7, 0x85, 0x8a, 0x92, 0x48, 0xb5, 0x96, 0xd4, 0xc2, 0x0e, 0x4e, 0xbf];
    assert_eq!(sent[..], huffman("/tmp/w-etcd-run/sock"));
    let mut mended = sent;
    assert!(mend_huffman(&mut mended));
    assert_eq!(mended[..], huffman("-tmp-w-etcd-run-sock"));
}

/// Claim: a slash at each place of a byte is found, and behind a code that no path has nothing is touched.
#[test]
fn slashes_are_found_wherever_they_begin() {
    for before in ["", "a", "aa", "aaa", "-", "-a", "x", "xx", "X", "@", "+a"] {
        for after in ["", "/", "c", "///", "~/"] {
            let path = format!("{before}/{after}");
            let mut mended = huffman(&path);
            assert!(mend_huffman(&mut mended), "{path}");
            assert_eq!(mended, huffman(&path.replace('/', "-").replace('@', "~")), "{path}");
        }
    }
    // A backslash, of 19 bits, and slashes.
    let mut odd = vec![0b1111_1111, 0b1111_1110, 0b0000_1100, 0b0011_0001];
    assert!(!mend_huffman(&mut odd));
}

#[test]
fn the_rest_of_a_connection_is_given_on_as_it_came_however_it_is_cut() {
    for (coded, flags) in [(false, 0x04), (true, 0x04 | PADDED), (false, 0x04 | PRIORITY), (true, 0x2c)] {
        let wire = |authority: &str| {
            let mut payload = Vec::new();
            payload.extend((flags & PADDED != 0).then_some(3));
            payload.extend_from_slice(if flags & PRIORITY != 0 { &[0, 0, 0, 0, 16] } else { &[] });
            payload.extend(block(authority, coded, &[0x41]));
            payload.extend_from_slice(if flags & PADDED != 0 { &[0, 0, 0] } else { &[] });
            let mut wire = PREFACE.to_vec();
            wire.extend(frame(4, 0, &[0, 3, 0, 0, 0, 100]));
            wire.extend(frame(8, 0, &[0, 1, 0, 0]));
            wire.extend(frame(HEADERS, flags, &payload));
            wire.extend(frame(0, 1, b"http://not.a.header:2379"));
            // The client's table is full and it spells its authority out again.
            wire.extend(frame(HEADERS, flags, &payload));
            wire.extend(frame(0, 1, &[0; 5]));
            wire
        };
        let (bad, good) = (wire("http://127.0.0.1:2379"), wire("httpx--127.0.0.1x2379"));
        for step in 1..bad.len() {
            let (out, filter) = through(&bad, step, 1 + step % 50);
            assert_eq!(out, good, "{step} bytes at a time");
            assert!(filter.is_through());
        }
        let plain = wire("127.0.0.1:2379");
        assert_eq!(through(&plain, 7, 16).0, plain);
    }
}

#[test]
fn a_connection_without_urls_is_let_through_from_its_first_request_on() {
    let mut filter = Filter::default();
    filter.take(PREFACE);
    assert!(matches!(filter.stage, Stage::First));
    filter.take(&frame(HEADERS, 4, &block("127.0.0.1:2379", true, &[0x41])));
    assert!(matches!(filter.stage, Stage::Through));
    // Nothing waits for the rest of a preface that it cannot become.
    let mut filter = Filter::default();
    filter.take(b"P");
    assert!(filter.seen == 0 && matches!(filter.stage, Stage::Preface));
    filter.take(b"OST / HTTP/1.1\r\n");
    assert!(filter.seen == 17 && matches!(filter.stage, Stage::Through));
}

#[test]
fn whatever_comes_all_of_it_is_given_on() {
    let mut rng = Rng::stream(1, "authority");
    for _ in 0..20_000 {
        let mut wire = PREFACE[..if rng.chance(1, 8) { rng.below(24) as usize } else { 24 }].to_vec();
        for _ in 0..rng.below(4) {
            let mut payload: Vec<u8> = if rng.chance(1, 2) {
                block("http://127.0.0.1:2379", rng.chance(1, 2), &[0x41])
            } else {
                (0..rng.below(60)).map(|_| rng.below(256) as u8).collect()
            };
            for _ in 0..rng.below(3) {
                let n = payload.len().max(1) as u64;
                if let Some(byte) = payload.get_mut(rng.below(n) as usize) {
                    *byte ^= 1 << rng.below(8);
                }
            }
            let kind = *rng.pick(&[HEADERS, HEADERS, 0, 9]);
            wire.extend(frame(kind, rng.below(256) as u8, &payload));
        }
        if rng.chance(1, 2) {
            wire.truncate(rng.below(wire.len() as u64 + 1) as usize);
        }
        let (out, filter) = through(&wire, rng.between(1, 40) as usize, rng.between(1, 40) as usize);
        assert_eq!(out.len(), wire.len());
        assert!(filter.is_through());
        assert!(
            out.iter().zip(&wire).filter(|(a, b)| a != b).count() <= 3 * 5,
            "only what was mended differs"
        );
    }
}
