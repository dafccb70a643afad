//! Compiles the `.proto` files with protox, so that nobody has to install protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/dynamicmcp/v1/executor.proto",
        "proto/dynamicmcp/v1/fleet.proto",
        "proto/dynamicmcp/v1/sandboxes.proto",
        "proto/dynamicmcp/v1/replicas.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".dynamicmcp.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
