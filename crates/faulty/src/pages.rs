//! The bytes of a file, in pages: what was never written takes no room, and copies share what neither has written since.

use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of a page: few, since each small write of a journal costs a copy of the page that its flush has shared.
const PAGE: usize = 1 << 10;

/// A write of at least so many bytes is kept as the pages that it made.
const LARGE: usize = 8 * PAGE;

/// What was written, whatever is written over it later.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// Its bytes.
    Few(Vec<u8>),
    /// The pages that hold it, where in the first it begins, and how long it is.
    Many { pages: Pages, at: usize, len: usize },
}

impl Written {
    /// How many bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(bytes) => bytes.len(),
            Self::Many { len, .. } => *len,
        }
    }

    /// They themselves.
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Few(bytes) => Cow::Borrowed(bytes),
            Self::Many { pages, at, len } => Cow::Owned(pages.get(*at, *len)),
        }
    }
}

/// Bytes of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    len: usize,
    /// A page that is not there is all zeros.
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Pages {
    /// So many zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut this = Self::default();
        this.grow(len);
        this
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn grow(&mut self, len: usize) {
        if len > self.len {
            self.len = len;
            self.pages.resize(len.div_ceil(PAGE), None);
        }
    }

    /// Writes bytes; behind the end it grows, by zeros where nothing is written.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.grow(offset + bytes.len());
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (page, within) = (at / PAGE, at % PAGE);
            let (here, more) = rest.split_at(rest.len().min(PAGE - within));
            match &mut self.pages[page] {
                // Nothing of what was there is left.
                page if here.len() == PAGE => {
                    *page = <&[u8; PAGE]>::try_from(here).ok().map(|here| Arc::new(*here));
                }
                Some(page) => Arc::make_mut(page)[within..within + here.len()].copy_from_slice(here),
                none => {
                    let mut page = [0; PAGE];
                    page[within..within + here.len()].copy_from_slice(here);
                    *none = Some(Arc::new(page));
                }
            }
            (at, rest) = (at + here.len(), more);
        }
    }

    /// The same, and keeps what was written.
    pub(crate) fn write_and_keep(&mut self, offset: usize, bytes: &[u8]) -> Written {
        self.write(offset, bytes);
        if bytes.len() < LARGE {
            return Written::Few(bytes.to_vec());
        }
        let (first, end, at) = (offset / PAGE, offset + bytes.len(), offset % PAGE);
        let pages = self.pages[first..end.div_ceil(PAGE)].to_vec();
        Written::Many { pages: Self { len: end - first * PAGE, pages }, at, len: bytes.len() }
    }

    /// Reads bytes, all of which must be there.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let at = offset + done;
            let (page, within) = (at / PAGE, at % PAGE);
            let here = (into.len() - done).min(PAGE - within);
            let to = &mut into[done..done + here];
            match &self.pages[page] {
                Some(page) => to.copy_from_slice(&page[within..within + here]),
                None => to.fill(0),
            }
            done += here;
        }
    }

    /// Whether a range, all of which must be there, is all zeros.
    pub(crate) fn is_zero(&self, offset: usize, len: usize) -> bool {
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let (page, within) = (at / PAGE, at % PAGE);
            let here = (end - at).min(PAGE - within);
            if let Some(page) = &self.pages[page] {
                // Folded by parts, which takes a fraction of the time that looking at each byte does.
                let any = |part: &[u8]| part.iter().fold(0, |all, &byte| all | byte) != 0;
                if page[within..within + here].chunks(128).any(any) {
                    return false;
                }
            }
            at += here;
        }
        true
    }

    /// The bytes of a range, as far as they are there.
    pub(crate) fn get(&self, from: usize, len: usize) -> Vec<u8> {
        let from = from.min(self.len);
        let mut bytes = vec![0; len.min(self.len - from)];
        self.read(from, &mut bytes);
        bytes
    }

    /// Changes the bits of `mask` in a byte, if it is there.
    pub(crate) fn flip(&mut self, byte: usize, mask: u8) {
        if byte < self.len {
            let old = self.get(byte, 1)[0];
            self.write(byte, &[old ^ mask]);
        }
    }

    /// The pages that hold a range are those of another.
    pub(crate) fn share(&mut self, other: &Self, offset: usize, len: usize) {
        self.grow(other.len);
        let pages = offset / PAGE..(offset + len).div_ceil(PAGE).min(other.pages.len());
        for page in pages {
            self.pages[page].clone_from(&other.pages[page]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;

    /// Claim: whatever is written, flipped, copied and shared, it reads as plain bytes would.
    #[test]
    fn it_is_as_plain_bytes_are() {
        let mut rng = Rng::new(7);
        let (mut pages, mut plain) = (Pages::zeros(5_000), vec![0; 5_000]);
        for _ in 0..300 {
            let (before, was) = (pages.clone(), plain.clone());
            let offset = rng.below(20_000) as usize;
            let bytes = vec![rng.below(256) as u8; rng.below(20_000) as usize];
            let written = pages.write_and_keep(offset, &bytes);
            plain.resize(plain.len().max(offset + bytes.len()), 0);
            plain[offset..offset + bytes.len()].copy_from_slice(&bytes);
            let byte = rng.below(30_000) as usize;
            pages.flip(byte, 4);
            plain.get_mut(byte).into_iter().for_each(|byte| *byte ^= 4);
            assert_eq!(pages.get(0, usize::MAX), plain);
            let (from, len) = (rng.below(plain.len() as u64) as usize, rng.below(3_000) as usize);
            let len = len.min(plain.len() - from);
            assert_eq!(pages.is_zero(from, len), plain[from..from + len].iter().all(|&byte| byte == 0));
            assert_eq!(before.get(0, usize::MAX), was, "a copy stays as it was");
            assert_eq!(
                (written.len(), &*written.bytes()),
                (bytes.len(), &bytes[..]),
                "so does what was written"
            );
            let mut shared = before;
            shared.share(&pages, offset, bytes.len());
            assert_eq!(
                shared.get(offset, bytes.len()),
                bytes
                    .iter()
                    .enumerate()
                    .map(|(at, &b)| { if offset + at == byte { b ^ 4 } else { b } })
                    .collect::<Vec<u8>>()
            );
        }
    }
}
