//! The heap of the zygote, before children are copied from it.

use std::hint::black_box;

/// The most and the least that a chunk is asked for. Larger ones the allocator takes from the system each by itself.
const LARGEST: usize = 64 << 10;
const SMALLEST: usize = 16;
/// Of each size, should the allocator not hand out what is free in the way that is expected of it.
const MOST_CHUNKS: usize = 4_096;

/// Takes what is free between the things that were made so far, and never gives it back. What a child makes then lies
/// side by side at the heap's end: to write among the zygote's own things it would first have to copy a page for each.
pub fn use_up_gaps() {
    let end = place(&chunk_of(2 * LARGEST));
    let mut bytes = LARGEST;
    while bytes >= SMALLEST {
        for _ in 0..MOST_CHUNKS {
            let chunk = chunk_of(bytes);
            if place(&chunk) >= end {
                break;
            }
            std::mem::forget(chunk);
        }
        bytes -= (bytes / 8).max(SMALLEST);
    }
}

fn chunk_of(bytes: usize) -> Vec<u8> {
    Vec::with_capacity(bytes)
}

fn place(chunk: &[u8]) -> usize {
    black_box(chunk.as_ptr()).addr()
}
