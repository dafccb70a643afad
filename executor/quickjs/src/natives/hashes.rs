//! Digests for `node:crypto` and `crypto.subtle`.

use hmac::{Hmac, Mac};
use md5::Md5;
use rquickjs::{Ctx, Function, Object, String as JsString, TypedArray};
use sha1::Sha1;
use sha2::digest::{Digest, KeyInit};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::hex;

type Made = rquickjs::Result<Option<Vec<u8>>>;

pub(super) fn install<'js>(ctx: &Ctx<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    natives.set("digestPieces", Function::new(ctx.clone(), digest)?)?;
    natives.set("hmacPieces", Function::new(ctx.clone(), keyed)?)
}

/// `None` for an algorithm that is not known. `next` gives the bytes piece by piece, at last an empty one.
fn digest<'js>(
    ctx: Ctx<'js>,
    name: String,
    next: Function<'js>,
) -> rquickjs::Result<Option<TypedArray<'js, u8>>> {
    let made = match name.as_str() {
        "md5" => hashed::<Md5>(&ctx, &next),
        "sha1" => hashed::<Sha1>(&ctx, &next),
        "sha224" => hashed::<Sha224>(&ctx, &next),
        "sha256" => hashed::<Sha256>(&ctx, &next),
        "sha384" => hashed::<Sha384>(&ctx, &next),
        "sha512" => hashed::<Sha512>(&ctx, &next),
        _ => Ok(None),
    };
    made?.map(|made| TypedArray::new_copy(ctx, made)).transpose()
}

fn keyed<'js>(
    ctx: Ctx<'js>,
    name: String,
    key: JsString<'js>,
    next: Function<'js>,
) -> rquickjs::Result<Option<TypedArray<'js, u8>>> {
    let key = hex::decoded(&ctx, key)?;
    let made = match name.as_str() {
        "md5" => authenticated::<Hmac<Md5>>(&ctx, &key, &next),
        "sha1" => authenticated::<Hmac<Sha1>>(&ctx, &key, &next),
        "sha224" => authenticated::<Hmac<Sha224>>(&ctx, &key, &next),
        "sha256" => authenticated::<Hmac<Sha256>>(&ctx, &key, &next),
        "sha384" => authenticated::<Hmac<Sha384>>(&ctx, &key, &next),
        "sha512" => authenticated::<Hmac<Sha512>>(&ctx, &key, &next),
        _ => Ok(None),
    };
    made?.map(|made| TypedArray::new_copy(ctx, made)).transpose()
}

fn hashed<'js, D: Digest>(ctx: &Ctx<'js>, next: &Function<'js>) -> Made {
    let mut hasher = D::new();
    each_piece(ctx, next, |piece| hasher.update(piece))?;
    Ok(Some(hasher.finalize().to_vec()))
}

/// HMAC takes keys of any length, so there is always one.
fn authenticated<'js, M: Mac + KeyInit>(ctx: &Ctx<'js>, key: &[u8], next: &Function<'js>) -> Made {
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else {
        return Ok(None);
    };
    each_piece(ctx, next, |piece| mac.update(piece))?;
    Ok(Some(mac.finalize().into_bytes().to_vec()))
}

fn each_piece<'js>(
    ctx: &Ctx<'js>,
    next: &Function<'js>,
    mut take: impl FnMut(&[u8]),
) -> rquickjs::Result<()> {
    loop {
        let piece = hex::decoded(ctx, next.call(())?)?;
        if piece.is_empty() {
            return Ok(());
        }
        take(&piece);
    }
}
