//! Bodies packed with gzip (RFC 1952), in both directions.
//!
//! A packed request may unpack to what one that is not packed may have, and no more; it is unpacked piece by piece, so that a
//! small one that claims to be huge costs no more than that. Packing and unpacking of more than a little is done beside
//! the node's own thread, which heartbeats wait for, a few bodies at a time.

use crate::failure::{Answered, ApiError, Kind};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap};
use std::io::Read;
use tokio::sync::Semaphore;

/// Smaller answers are not packed: it would not save a packet.
const WORTH_IT: usize = 1024;
/// So many bytes are packed on the spot.
const AT_ONCE: usize = 16 << 10;
/// No body unpacks to more than so many times its size (a property of the format).
const RATIO_MAX: usize = 1032;

/// Whether a request's body is packed.
pub(crate) fn is_packed(headers: &HeaderMap) -> Answered<bool> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Ok(false) };
    match encoding.to_str().map(str::trim) {
        Ok(word) if word.eq_ignore_ascii_case("gzip") => Ok(true),
        Ok(word) if word.is_empty() || word.eq_ignore_ascii_case("identity") => Ok(false),
        _ => Err(ApiError::new(Kind::Serialization, "The only Content-Encoding of a request is gzip")),
    }
}

/// Whether a client takes packed answers (RFC 9110, section 12.5.3).
pub(crate) fn takes_packed(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|word| word.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        gzip && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// What a body of this size may unpack to, if `most` is the largest.
pub(crate) fn unpacked_at_most(size: usize, most: usize) -> usize {
    size.saturating_mul(RATIO_MAX).min(most)
}

/// Unpacks a body of `most` bytes at most.
pub(crate) async fn unpack(places: &Semaphore, body: Bytes, most: usize) -> Answered<Bytes> {
    if body.len() <= AT_ONCE / 16 {
        return unpack_now(&body, most);
    }
    let _place = places.acquire().await.map_err(|_| crate::unexpected())?;
    tokio::task::spawn_blocking(move || unpack_now(&body, most)).await.map_err(|_| crate::unexpected())?
}

fn unpack_now(body: &[u8], most: usize) -> Answered<Bytes> {
    let mut out = Vec::new();
    // One more than may be tells that it is too much.
    let read = MultiGzDecoder::new(body).take(most as u64 + 1).read_to_end(&mut out);
    if out.len() > most {
        return Err(ApiError::new(Kind::TooLarge, "The request is larger than 16 MB when it is unpacked"));
    }
    read.map_err(|_| ApiError::new(Kind::Serialization, "The body of the request is not gzip"))?;
    Ok(out.into())
}

/// Packs an answer, if that is worth it.
pub(crate) async fn pack(places: &Semaphore, body: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
    if body.len() < WORTH_IT {
        return Err(body);
    }
    if body.len() <= AT_ONCE {
        return pack_now(&body).ok_or(body);
    }
    // Who finds no place gets it as it is: the answer is more than its form.
    let Ok(_place) = places.try_acquire() else { return Err(body) };
    let body = Bytes::from(body);
    let shared = body.clone();
    match tokio::task::spawn_blocking(move || pack_now(&shared)).await {
        Ok(Some(packed)) => Ok(packed),
        _ => Err(body.into()),
    }
}

fn pack_now(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() / 4);
    GzEncoder::new(body, Compression::fast()).read_to_end(&mut out).ok()?;
    (out.len() < body.len()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(text: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, text.parse().unwrap());
        takes_packed(&headers)
    }

    #[test]
    fn a_client_says_whether_it_takes_gzip() {
        for text in ["gzip", "deflate, GZIP;q=0.5", "gzip;q=1.0,identity"] {
            assert!(accepting(text), "{text}");
        }
        for text in ["identity", "gzip;q=0", "gzip;q=0.0, br", "xgzip", "", "gzip;q=x"] {
            assert!(!accepting(text), "{text}");
        }
        assert!(!takes_packed(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn bodies_come_back_and_none_grows_beyond_the_largest() {
        let places = Semaphore::new(1);
        for size in [WORTH_IT, AT_ONCE + 1, 1 << 20] {
            let body: Vec<u8> = (0..size).map(|at| (at / 7 % 251) as u8).collect();
            let packed = Bytes::from(pack(&places, body.clone()).await.unwrap());
            assert!(packed.len() < size && size <= unpacked_at_most(packed.len(), usize::MAX));
            assert_eq!(unpack(&places, packed.clone(), size).await.unwrap(), body);
            assert_eq!(unpack(&places, packed.clone(), size - 1).await.unwrap_err().kind, Kind::TooLarge);
            for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
                let error = unpack(&places, packed.slice(..cut), size).await.unwrap_err();
                assert_eq!(error.kind, Kind::Serialization, "cut at {cut}");
            }
        }
        assert_eq!(pack(&places, vec![1; 10]).await, Err(vec![1; 10]));
        // Much of nothing, in little: it is not unpacked.
        let bomb = pack_now(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 512 << 10);
        assert_eq!(unpack(&places, bomb.into(), 16 << 20).await.unwrap_err().kind, Kind::TooLarge);
    }

    #[test]
    fn another_encoding_is_refused() {
        for (word, packed) in [("gzip", Some(true)), ("identity", Some(false)), ("br", None)] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, word.parse().unwrap());
            assert_eq!(is_packed(&headers).ok(), packed);
        }
    }
}
