//! What the many servers that speak OpenAI's dialect do differently, in one place.

/// Whose variety of the dialect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Flavour {
    /// OpenAI itself.
    OpenAi,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// Text Generation Inference.
    Tgi,
    /// llama.cpp's server.
    LlamaCpp,
    /// OpenRouter.
    OpenRouter,
    /// Azure's v1 route.
    Azure,
    /// Anything else that is compatible.
    #[default]
    Generic,
}

/// Where the key goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Auth {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// `api-key: KEY`.
    ApiKey,
}
impl Flavour {
    /// Every flavour with its name in a config.
    pub const NAMES: [(Self, &'static str); 8] = [
        (Self::OpenAi, "openai"),
        (Self::Vllm, "vllm"),
        (Self::Sglang, "sglang"),
        (Self::Tgi, "tgi"),
        (Self::LlamaCpp, "llamacpp"),
        (Self::OpenRouter, "openrouter"),
        (Self::Azure, "azure"),
        (Self::Generic, "generic"),
    ];

    /// The flavour of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(_, n)| *n == name).map(|(f, _)| f)
    }
}
