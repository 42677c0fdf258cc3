//! Turns `proto/` into Rust and into the descriptor set that server reflection serves, without a protoc binary.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 2] = ["proto/gridtie/v1/inference.proto", "proto/gridtie/v1/admin.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("gridtie.fds"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Pictures are cut out of the message that came, not copied.
        .bytes(".gridtie.v1.Image.data")
        .compile_fds(descriptors)?;
    Ok(())
}
