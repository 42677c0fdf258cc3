//! What the many servers that speak OpenAI's dialect do differently, in one place.
//!
//! Only what we must do differently on the way to them. Their answers and errors are read so tolerantly that no
//! flavour is needed. For a later use of `priority`: at vLLM the lower number runs first, at SGLang the higher.

use crate::dialect::openai::Limit;

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
    /// Azure's v1 route, where the model is the name of a deployment.
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

    /// The path before `/chat/completions`.
    pub const fn base_path(self) -> &'static str {
        match self {
            Self::OpenRouter => "/api/v1",
            Self::Azure => "/openai/v1",
            Self::OpenAi | Self::Vllm | Self::Sglang | Self::Tgi | Self::LlamaCpp | Self::Generic => "/v1",
        }
    }

    /// Where the key goes.
    pub const fn auth(self) -> Auth {
        match self {
            Self::Azure => Auth::ApiKey,
            Self::OpenAi
            | Self::Vllm
            | Self::Sglang
            | Self::Tgi
            | Self::LlamaCpp
            | Self::OpenRouter
            | Self::Generic => Auth::Bearer,
        }
    }

    /// How it spells the limit on output tokens in a request that we write ourselves.
    pub const fn limit(self) -> Limit {
        match self {
            // Their reasoning models refuse the older name.
            Self::OpenAi | Self::Azure => Limit::MaxCompletionTokens,
            // The older name is understood by every engine of any age.
            Self::Vllm | Self::Sglang | Self::Tgi | Self::LlamaCpp | Self::OpenRouter | Self::Generic => {
                Limit::MaxTokens
            }
        }
    }
}
