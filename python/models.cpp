// The parts of FLUX.1 as callables. They are opened as `resflow generate` opens them, whatever their files' form.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "module.h"
#include "resflow/autoencoders/file.h"
#include "resflow/core/device.h"
#include "resflow/generate/model_folder.h"
#include "resflow/generate/part_weights.h"
#include "resflow/generate/text_encoder.h"
#include "resflow/models/flux/file.h"
#include "resflow/models/flux/transformer.h"
#include "resflow/weights/family.h"

namespace resflow::python {
namespace {

namespace fs = std::filesystem;
using Released = py::call_guard<py::gil_scoped_release>;

// What a caller hands over is his to mend: a shape that does not fit is a UserError here.
void expect(const Tensor& tensor, const std::string& shape, const std::string& name) {
  try {
    check_shape(tensor, shape, name);
  } catch (const c10::Error&) {
    throw_user_error({.where = name,
                      .problem = tensor.defined() ? "wrong shape" : "missing",
                      .wanted = "a tensor [" + shape + "]",
                      .got = tensor.defined() ? c10::str(tensor.sizes()) : ""});
  }
}

Tensor given(const std::optional<Tensor>& tensor) { return tensor.value_or(Tensor()); }

// FLUX's transformer, called as diffusers' FluxTransformer2DModel is.
class Transformer {
 public:
  Transformer(const std::string& path, const std::string& device, const std::string& dtype) : device_(parse_device(device)) {
    const at::NoGradGuard no_grad;
    const auto file = models::open_flux(generate::find_part(path, "transformer"));
    model_ = std::make_unique<models::FluxTransformer>(file.config);
    weights::load_strict(*model_, file.weights, "", generate::conversion_of(file.weights, device_, parse_dtype(dtype, device_)));
  }

  Tensor forward(const Tensor& hidden_states, const std::optional<Tensor>& encoder_hidden_states, const std::optional<Tensor>& pooled_projections,
                 const std::optional<Tensor>& timestep, const std::optional<Tensor>& img_ids, const std::optional<Tensor>& txt_ids,
                 const std::optional<Tensor>& guidance) const {
    const at::NoGradGuard no_grad;
    const auto& config = model_->config();
    expect(hidden_states, fmt::format("B L {}", config.in_channels), "hidden_states");
    const int64_t batch = hidden_states.size(0);
    models::FluxInput input;
    input.hidden_states = hidden_states.to(device_);
    input.encoder_hidden_states = here(encoder_hidden_states, fmt::format("{} T {}", batch, config.joint_attention_dim), "encoder_hidden_states");
    input.pooled = here(pooled_projections, fmt::format("{} {}", batch, config.pooled_projection_dim), "pooled_projections");
    input.timestep = here(timestep, std::to_string(batch), "timestep");
    input.img_ids = positions(img_ids, hidden_states.size(1), "img_ids");
    input.txt_ids = positions(txt_ids, input.encoder_hidden_states.size(1), "txt_ids");
    if (config.guidance_embeds) {
      input.guidance = here(guidance, std::to_string(batch), "guidance");
    } else if (guidance) {
      throw_user_error({.where = "guidance", .problem = "this model takes no guidance scale", .wanted = "None"});
    }
    return model_->forward(input);
  }

  std::string config() const { return models::flux_config_json(model_->config()).dump(); }

 private:
  Tensor here(const std::optional<Tensor>& tensor, const std::string& shape, const std::string& name) const {
    expect(given(tensor), shape, name);
    return tensor->to(device_);
  }
  // [L, 3]; diffusers also takes the same positions for each of a batch, and uses the first
  Tensor positions(const std::optional<Tensor>& ids, int64_t length, const std::string& name) const {
    const Tensor one = ids && ids->dim() == 3 && ids->size(0) > 0 ? ids->select(0, 0) : given(ids);
    return here(one, fmt::format("{} {}", length, model_->config().axes_dims_rope.size()), name);
  }

  c10::Device device_;
  std::unique_ptr<models::FluxTransformer> model_;
};

class Autoencoder {
 public:
  Autoencoder(const std::string& path, const std::string& device, const std::string& dtype) : device_(parse_device(device)) {
    const at::NoGradGuard no_grad;
    model_ = autoencoders::load_autoencoder(generate::find_part(path, "vae"), {.dtype = parse_dtype(dtype, device_), .device = device_});
  }

  Tensor encode(const Tensor& image) const {
    const at::NoGradGuard no_grad;
    expect(image, "B 3 H W", "image");
    const int64_t side = model_->reduction();
    if (image.numel() == 0 || image.size(2) % side != 0 || image.size(3) % side != 0)
      throw_user_error({.where = "image",
                        .problem = "sides that no whole number of latents covers",
                        .wanted = fmt::format("multiples of {}", side),
                        .got = fmt::format("{} x {}", image.size(2), image.size(3))});
    return model_->encode((image.to(device_, at::kFloat) + 1) / 2);
  }

  Tensor decode(const Tensor& latent) const {
    const at::NoGradGuard no_grad;
    expect(latent, fmt::format("B {} h w", model_->latent_channels()), "latent");
    return model_->decode(latent.to(device_, at::kFloat)) * 2 - 1;
  }

  int64_t latent_channels() const { return model_->latent_channels(); }
  int64_t reduction() const { return model_->reduction(); }

 private:
  c10::Device device_;
  std::unique_ptr<autoencoders::Autoencoder> model_;
};

// The tokenizer of an encoder. `asked` is what the caller named, or "": then it is in the encoder's folder, or beside it as in a pipeline's folder.
fs::path tokenizer_of(const fs::path& encoder, const std::string& asked, const char* part, const std::vector<const char*>& files) {
  std::vector<fs::path> places = {encoder};
  if (!asked.empty()) {
    places = {fs::path(asked) / part, asked};
  } else if (auto name = (encoder.has_filename() ? encoder : encoder.parent_path()).filename().string(); name.starts_with("text_encoder")) {
    places.push_back(encoder / ".." / name.replace(0, std::string("text_encoder").size(), "tokenizer"));
  }
  for (const auto& place : places) {
    if (!asked.empty() && fs::is_regular_file(place)) return place;
    if (std::any_of(files.begin(), files.end(), [&](const char* file) { return fs::exists(place / file); })) return place;
  }
  throw_user_error({.where = encoder.string(),
                    .problem = "no tokenizer for this encoder",
                    .wanted = fmt::format("a folder with {}", fmt::join(files, " or ")),
                    .got = asked.empty() ? "none there or beside it" : asked,
                    .hint = "Name it: load_text_encoder(..., tokenizer=\"FLUX.1-dev\"), a pipeline's folder or a tokenizer's"});
}

// T5, CLIP, or both, as the file, the component's folder or the pipeline's has them.
class TextEncoder {
 public:
  TextEncoder(const std::string& path, const std::string& device, const std::string& dtype, const std::string& tokenizer) {
    const at::NoGradGuard no_grad;
    const auto where = parse_device(device);
    const auto type = parse_dtype(dtype, where);
    const fs::path clip = generate::find_part(path, "text_encoder");
    const bool pipeline = clip != fs::path(path) && clip.filename() == "text_encoder";
    const fs::path t5 = pipeline ? generate::find_part(path, "text_encoder_2") : clip;
    const auto kinds = weights::families_of(weights::TensorFile::open(t5));
    const auto is = [&](std::string_view kind) { return std::any_of(kinds.begin(), kinds.end(), [&](const auto& f) { return f.name == kind; }); };
    if (pipeline || is("t5-encoder"))
      t5_ = std::make_unique<generate::T5Text>(
          generate::TextEncoderFiles{.encoder = t5, .tokenizer = tokenizer_of(t5, tokenizer, "tokenizer_2", {"tokenizer.json", "spiece.model"})},
          where, type);
    // transformers 5 saves a text tower's tensors without the "text_model." that a file is known by.
    const auto bare_clip = [&] { return !t5_ && text::ClipFile::open(clip).contains("text_model.encoder.layers.0.mlp.fc1.weight"); };
    if (pipeline || is("clip-text") || is("clip") || bare_clip())
      clip_ = std::make_unique<generate::ClipText>(
          generate::TextEncoderFiles{.encoder = clip, .tokenizer = tokenizer_of(clip, tokenizer, "tokenizer", {"vocab.json", "tokenizer.json"})},
          where, type);
    if (!t5_ && !clip_)
      throw_user_error({.where = path,
                        .problem = "no text encoder in this file",
                        .wanted = "T5's encoder or CLIP's text tower",
                        .got = kinds.empty() ? "tensors of unknown names" : std::string(kinds.front().what)});
  }

  using Prompts = std::variant<std::string, std::vector<std::string>>;
  std::pair<Tensor, std::optional<Tensor>> forward(const Prompts& prompts, int64_t max_sequence_length) const {
    const at::NoGradGuard no_grad;
    const auto* one = std::get_if<std::string>(&prompts);
    const auto texts = one != nullptr ? std::vector<std::string>{*one} : std::get<std::vector<std::string>>(prompts);
    if (texts.empty()) throw_user_error({.where = "prompts", .problem = "no text", .wanted = "a text or a list of texts"});
    if (max_sequence_length < 1 || max_sequence_length > 4096)
      throw_user_error(
          {.where = "max_sequence_length", .problem = "out of range", .wanted = "1 to 4096", .got = std::to_string(max_sequence_length)});
    std::pair<Tensor, std::optional<Tensor>> out;
    if (clip_) {
      const auto found = clip_->encode(texts);
      out = {found.last, found.pooled};
    }
    if (t5_) out.first = t5_->encode(texts, max_sequence_length);
    return out;
  }

  std::vector<std::string> parts() const {
    std::vector<std::string> out;
    if (t5_) out.emplace_back("t5");
    if (clip_) out.emplace_back("clip");
    return out;
  }

 private:
  std::unique_ptr<generate::T5Text> t5_;
  std::unique_ptr<generate::ClipText> clip_;
};

}  // namespace

void add_models(py::module_& module) {
  py::class_<Transformer>(module, "Transformer", "FLUX.1's transformer. Call it as diffusers' FluxTransformer2DModel; it returns the tensor itself.")
      .def(py::init<const std::string&, const std::string&, const std::string&>(), Released())
      .def("__call__", &Transformer::forward, py::arg("hidden_states"), py::arg("encoder_hidden_states") = py::none(),
           py::arg("pooled_projections") = py::none(), py::arg("timestep") = py::none(), py::arg("img_ids") = py::none(),
           py::arg("txt_ids") = py::none(), py::arg("guidance") = py::none(), Released(),
           "The velocity of the latent tokens, [B, L, C], in the number type that is computed in. timestep [B] is sigma, 0..1.")
      .def_property_readonly("_config", &Transformer::config);
  py::class_<Autoencoder>(module, "Autoencoder", "Between pictures, -1..1, and the transformer's latents.")
      .def(py::init<const std::string&, const std::string&, const std::string&>(), Released())
      .def("encode", &Autoencoder::encode, py::arg("image"), Released(),
           "[B, 3, H, W], -1..1 -> [B, C, h, w] float32: (mean - shift) * scale of the posterior, the same every time.")
      .def("decode", &Autoencoder::decode, py::arg("latent"), Released(),
           "The inverse: [B, C, h, w] -> [B, 3, H, W] float32, about -1..1, not clamped.")
      .def_property_readonly("latent_channels", &Autoencoder::latent_channels, "C")
      .def_property_readonly("reduction", &Autoencoder::reduction, "Pixels along a side that one latent stands for");
  py::class_<TextEncoder>(module, "TextEncoder", "T5, CLIP, or both, with their tokenizers.")
      .def(py::init<const std::string&, const std::string&, const std::string&, const std::string&>(), Released())
      .def("__call__", &TextEncoder::forward, py::arg("prompts"), py::arg("max_sequence_length") = 512, Released(),
           "A text or a list of texts -> (tokens [B, L, D], pooled [B, D] or None). T5's tokens where there is T5; pooled is CLIP's.")
      .def_property_readonly("parts", &TextEncoder::parts, "What is loaded: 't5', 'clip'");
}

}  // namespace resflow::python
