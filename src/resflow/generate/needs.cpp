// How generate/memory.h's numbers are found: every part is put on libtorch's meta device and run there once, its allocations counted.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <set>

#include "resflow/autoencoders/autoencoder.h"
#include "resflow/core/config_file.h"
#include "resflow/core/device.h"
#include "resflow/core/memory_use.h"
#include "resflow/generate/conditions.h"
#include "resflow/generate/denoiser_files.h"
#include "resflow/generate/memory.h"
#include "resflow/generate/model_folder.h"
#include "resflow/generate/part_weights.h"
#include "resflow/generate/text_encoder.h"
#include "resflow/models/flux/transformer.h"
#include "resflow/models/fusion/control_net.h"
#include "resflow/models/tokens.h"
#include "resflow/nn/allocation_meter.h"
#include "resflow/nn/layer_stream.h"
#include "resflow/weights/autoencoder_names.h"
#include "resflow/weights/t5_names.h"

namespace resflow::generate {
namespace {

namespace fs = std::filesystem;

// What oneDNN's and MKL's code, the threads' stacks and the gaps between small blocks of the heap (return_large_blocks()) take of a CPU's memory
// beside what is counted: measured.
constexpr int64_t kRuntime = int64_t{24} << 20;

// One part in one mode: what its weights take while it is there, and what is allocated beside them while it runs.
struct PartBytes {
  int64_t copied = 0, mapped = 0;  // on a CPU; copied: on the device
  int64_t host = 0;                // on a GPU: anonymous memory of the host
  int64_t working = 0, encoding = 0;
};

c10::Device meta() { return {c10::kMeta}; }
at::TensorOptions on_meta(c10::ScalarType dtype) { return at::TensorOptions().dtype(dtype).device(at::kMeta); }

PartNeed part_of(const std::string& name, const fs::path& path, const weights::TensorFile& file) {
  PartNeed out{.name = name, .path = path};
  for (const auto& tensor : file.names()) {
    const int64_t count = c10::multiply_integers(file.shape(tensor));
    out.parameters += count;
    out.types[file.stored_type(tensor)] += count;
    for (const auto bytes : file.mapped(tensor)) out.bytes += static_cast<int64_t>(bytes.size());
  }
  return out;
}

class Estimate {
 public:
  Estimate(const ModelOptions& options, const Work& work, c10::Device device)
      : options_(options), work_(work), folder_(ModelFolder::open(options.model)), device_(device), dtype_(parse_dtype(options.dtype, device)) {}

  Needs run() {
    const c10::InferenceMode inference;
    const nn::AllocationMeter meter(device_.type());
    meter_ = const_cast<nn::AllocationMeter*>(&meter);
    Needs out{.device = device_, .dtype = dtype_};
    const PartBytes clip = measure_clip(out.parts), vae = measure_autoencoder(out.parts);
    open_t5(out.parts);
    for (const auto mode : {Offload::none, Offload::text, Offload::stream}) {
      const PartBytes t5 = measure_t5(mode), control = measure_control(mode);  // the ControlNet first: the transformer's step runs it
      out.modes.push_back(put_together(mode, clip, t5, vae, control, measure_transformer(mode)));
    }
    return out;
  }

 private:
  template <class Function>
  int64_t allocated_by(const Function& run) {
    meter_->restart();
    const int64_t before = meter_->live();
    run();
    return meter_->peak() - before;
  }
  bool on_cpu() const { return device_.is_cpu(); }

  void set_weights(PartBytes& part, weights::Footprint footprint) const {
    part.copied = on_cpu() ? footprint.copied : footprint.copied + footprint.mapped;
    part.mapped = on_cpu() ? footprint.mapped : 0;
  }

  PartBytes measure_clip(std::vector<PartNeed>& parts) {
    const fs::path path = folder_.part("text_encoder");
    parts.push_back(part_of("text_encoder", path, weights::TensorFile::open(path)));
    const auto file = text::ClipFile::open(path);
    const text::ClipTextModel model(file, meta());
    PartBytes out;
    set_weights(out, file.footprint(model));
    out.working = allocated_by([&] { model.forward(at::zeros({1, model.context()}, on_meta(at::kLong))); });
    return out;
  }

  void open_t5(std::vector<PartNeed>& parts) {
    t5_path_ = options_.t5.empty() ? folder_.part("text_encoder_2") : fs::path(options_.t5);
    t5_file_ = std::make_unique<weights::TensorFile>(weights::t5_as_transformers(weights::TensorFile::open(t5_path_)));
    parts.push_back(part_of("text_encoder_2", t5_path_, *t5_file_));
  }

  PartBytes measure_t5(Offload mode) {
    auto conversion = t5_conversion(*t5_file_, device_, dtype_, mode);
    conversion.device = meta();
    text::T5Encoder model(*t5_file_, "", conversion);
    conversion.device = c10::kCPU;
    PartBytes out;
    set_weights(out, weights::footprint(model, *t5_file_, "", conversion));
    if (!on_cpu() && mode == Offload::stream) move_in_turns(out, model.block_modules());
    out.working = allocated_by([&] { model.forward(at::zeros({1, work_.max_sequence_length}, on_meta(at::kLong))); });
    return out;
  }

  PartBytes measure_autoencoder(std::vector<PartNeed>& parts) {
    const fs::path config = folder_.part("vae") / "config.json", path = options_.vae.empty() ? folder_.part("vae") : fs::path(options_.vae);
    const auto opened = weights::TensorFile::open(path);
    const auto file = weights::has_autoencoder(opened) ? weights::autoencoder_as_diffusers(opened) : opened;
    parts.push_back(part_of("vae", path, file));
    const auto model = autoencoders::make_autoencoder(read_json_object(config), config.string());
    const weights::Conversion conversion{.dtype = !on_cpu() && dtype_ == at::kBFloat16 ? at::kBFloat16 : at::kFloat, .device = meta()};
    weights::load_strict(*model, file, "", conversion);
    PartBytes out;
    set_weights(out, weights::footprint(*model, file, "", {.dtype = conversion.dtype}));
    channels_ = model->latent_channels();
    reduction_ = model->reduction();
    const auto latent = [&](Size size) { return at::empty({1, channels_, size.height / reduction_, size.width / reduction_}, on_meta(at::kFloat)); };
    const auto image = [&](Size size) { return at::empty({1, 3, size.height, size.width}, on_meta(at::kFloat)); };
    out.working = allocated_by([&] { model->decode(latent(work_.size)).clamp(0, 1); });
    open_denoiser_files(parts);
    if (work_.image || files_->control || files_->beside != Beside::nothing) out.encoding = allocated_by([&] { model->encode(image(work_.size)); });
    if (work_.reference.width > 0) out.encoding = std::max(out.encoding, allocated_by([&] { model->encode(image(work_.reference)); }));
    return out;
  }

  void open_denoiser_files(std::vector<PartNeed>& parts) {
    files_ = std::make_unique<DenoiserFiles>(open_denoiser(options_, folder_, {.channels = channels_, .reduction = reduction_}));
    parts.push_back(part_of("transformer", files_->path, files_->transformer));
    for (const auto& choice : files_->loras) parts.push_back(part_of("lora", choice.lora.path, weights::TensorFile::open(choice.lora.path)));
    if (files_->control) parts.push_back(part_of("controlnet", files_->control_path, files_->control->weights));
  }

  // The ControlNet, which stays for the step that is measured with the transformer.
  PartBytes measure_control(Offload mode) {
    PartBytes out;
    if (!files_->control) return out;
    const auto& file = files_->control->weights;
    control_ = std::make_unique<models::FluxControlNet>(files_->control->config);
    auto conversion = transformer_conversion(file, device_, dtype_, mode);
    set_weights(out, weights::footprint(*control_, file, "", conversion));
    conversion.device = meta();
    weights::load_strict(*control_, file, "", conversion);
    if (!on_cpu() && mode == Offload::stream) move_in_turns(out, control_->block_modules());
    return out;
  }

  PartBytes measure_transformer(Offload mode) {
    const auto& file = files_->transformer;
    models::FluxTransformer model(files_->config);
    auto conversion = transformer_conversion(file, device_, dtype_, mode);
    PartBytes out;
    set_weights(out, weights::footprint(model, file, "", conversion));
    conversion.device = meta();
    weights::load_strict(model, file, "", conversion);
    const int64_t adapters = meter_->live();
    std::set<const nn::Linear*> merged;
    for (const auto& choice : files_->loras) {
      if (choice.use.merge) merge_footprint(model, choice.lora, merged, out);
      weights::attach(model, choice.lora, choice.use);
    }
    out.copied += std::max<int64_t>(meter_->live() - adapters, 0);
    if (!on_cpu() && mode == Offload::stream) move_in_turns(out, model.block_modules());
    out.working = allocated_by([&] { step(model); });
    return out;
  }

  // Merging makes copies of the weights that an adapter changes.
  static void merge_footprint(const nn::Module& model, const weights::Lora& lora, std::set<const nn::Linear*>& merged, PartBytes& out) {
    for (const auto& [name, module] : model.named_modules()) {
      const auto* linear = dynamic_cast<const nn::Linear*>(module);
      const bool adapted = std::any_of(lora.modules.begin(), lora.modules.end(), [&, &name = name](const auto& m) { return m.name == name; });
      if (linear == nullptr || !adapted || !merged.insert(linear).second) continue;
      const auto bytes = static_cast<int64_t>(linear->quantised.defined() ? linear->quantised.stored.nbytes() : linear->weight.nbytes());
      out.copied += bytes;
      out.mapped -= std::min(bytes, out.mapped);
    }
  }

  // On a GPU: what is no block's stays there, blocks take two buffers there and two pinned ones on the host.
  static void move_in_turns(PartBytes& part, const std::vector<nn::Module*>& blocks) {
    const auto held = [](const nn::Module& module) {
      int64_t out = 0;
      for (const auto& parameter : module.named_parameters())
        out += static_cast<int64_t>(parameter.quantised != nullptr && parameter.quantised->defined() ? parameter.quantised->stored.nbytes()
                                                                                                     : parameter.slot->nbytes());
      return out;
    };
    int64_t in_blocks = 0;
    for (const auto* block : blocks) in_blocks += held(*block);
    const int64_t buffers = nn::layer_buffer_bytes(blocks);
    part.mapped = in_blocks;
    part.copied = part.copied - in_blocks + buffers;
    part.host = buffers;
  }

  // One evaluation, with what the sampler holds beside it.
  void step(const models::FluxTransformer& model) const {
    const auto floats = [](at::IntArrayRef shape) { return at::empty(shape, on_meta(at::kFloat)); };
    const auto guidance = [&](const models::FluxConfig& config) { return config.guidance_embeds ? floats({work_.batch}) : Tensor(); };
    const auto& config = files_->config;
    const int64_t side = kPatch * reduction_, channels = config.token_out();
    const auto tokens = [&](Size size) { return (size.height / side) * (size.width / side); };
    const int64_t length = tokens(work_.size), all = length + (work_.reference.width > 0 ? tokens(work_.reference) : 0);
    const int64_t batch = work_.batch;
    const Tensor z = floats({batch, length, channels});
    models::FluxInput input;
    input.hidden_states = z;
    input.encoder_hidden_states =
        at::empty({batch, work_.max_sequence_length, config.joint_attention_dim}, on_meta(dtype_ == at::kHalf ? at::kFloat : dtype_));
    input.pooled = floats({batch, config.pooled_projection_dim});
    input.timestep = floats({batch});
    input.img_ids = floats({length, 3});
    input.txt_ids = floats({work_.max_sequence_length, 3});
    Tensor shown;
    if (control_) {
      const auto& own = control_->config();
      shown = own.conditioning_embedding_channels > 0 ? floats({batch, 3, work_.size.height, work_.size.width}) : floats({batch, length, channels});
      input.guidance = guidance(own.trunk);
      input.residuals = control_->forward(input, shown, 1, own.num_mode > 0 ? at::empty({batch}, on_meta(at::kLong)) : Tensor());
    }
    input.guidance = guidance(config);
    input.img_ids = floats({all, 3});
    input.hidden_states = floats({batch, all, files_->token_in});
    const Tensor velocity = model.forward(input).narrow(1, 0, length).to(at::kFloat);
    const Tensor next = z + velocity;
  }

  ModeNeed put_together(Offload mode, const PartBytes& clip, const PartBytes& t5, const PartBytes& vae, const PartBytes& control,
                        const PartBytes& transformer) const {
    const auto base = memory_use();
    ModeNeed out{.mode = mode};
    const auto add = [&](const char* name, std::initializer_list<const PartBytes*> there, int64_t working) {
      Bytes bytes{.anonymous = std::max<int64_t>(base.anonymous, 0) + kRuntime, .mapped = std::max<int64_t>(base.mapped, 0)};
      int64_t& computing = on_cpu() ? bytes.anonymous : bytes.device;
      computing += working;
      for (const auto* part : there) {
        computing += part->copied;
        bytes.mapped += part->mapped;
        bytes.anonymous += part->host;
      }
      out.stages.emplace_back(name, bytes);
    };
    const PartBytes gone, &clip_later = mode == Offload::none ? clip : gone, &t5_later = mode == Offload::none ? t5 : gone;
    add("clip", {&clip}, clip.working);
    add("t5", {&t5, &clip_later}, t5.working);
    if (vae.encoding > 0) add("encode", {&vae, &clip_later, &t5_later}, vae.encoding);
    add("denoise", {&transformer, &control, &vae, &clip_later, &t5_later}, transformer.working + work_.beside);
    add("decode", {&transformer, &control, &vae, &clip_later, &t5_later}, vae.working + work_.beside);
    return out;
  }

  const ModelOptions& options_;
  const Work& work_;
  ModelFolder folder_;
  c10::Device device_;
  c10::ScalarType dtype_;
  nn::AllocationMeter* meter_ = nullptr;
  fs::path t5_path_;
  std::unique_ptr<DenoiserFiles> files_;
  std::unique_ptr<models::FluxControlNet> control_;  // or none
  std::unique_ptr<weights::TensorFile> t5_file_;
  int64_t channels_ = 0, reduction_ = 1;
};

}  // namespace

Needs needs_of(const ModelOptions& model, const Work& work, c10::Device device) {
  check_fields(model);
  return Estimate(model, work, device).run();
}

}  // namespace resflow::generate
