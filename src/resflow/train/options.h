// Everything a training run is told: the TOML file's keys, --help and the checkpoint's record are drawn from this list.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/fields.h"
#include "resflow/models/compact/config.h"
#include "resflow/train/flux_options.h"
#include "resflow/train/rank_options.h"

namespace resflow::train {

struct TrainOptions {
  std::string task = "dr";
  std::string output = "runs/dr";
  std::vector<std::string> data;
  std::string validation;
  std::string remover;
  std::string flow;
  std::string init_from;
  std::string feature_network;
  std::string validation_network;
  models::CompactConfig model;
  FluxOptions flux;
  models::FusionConfig fusion;
  RankOptions ranks;

  int64_t steps = 4000;
  double minutes = 0;
  int64_t batch = 8;
  int64_t reuse = 1;
  int64_t crop = 96;
  double learning_rate = 1e-3;
  double final_learning_rate = 1e-6;
  int64_t warmup = 100;
  double weight_decay = 0;
  double beta2 = 0.99;
  double clip_norm = 1;
  double ema = 0.998;
  std::string pixel_loss = "l1";
  double feature_weight = 0;
  int64_t feature_window = 0;
  double feature_sigma_s = 0.1;
  double adversarial_weight = 0;
  double lattice_weight = 0;
  double noiseless = 0.2;
  double faithful = 0;
  double chosen = 0;
  int64_t choices = 3;
  double word_dropout = 0.3;
  double sigma_s_low = 0.05;
  double sigma_s_high = 0.5;

  std::vector<std::string> recipes = {"see-sr", "real-esrgan"};
  std::vector<double> recipe_weights = {1, 1};
  std::vector<double> scales = {4};
  std::vector<double> scale_weights = {1};
  std::string teacher;
  double taught_share = 0.75;
  double taught_features = 0.5;
  double teacher_reference = 0;

  int64_t seed = 1;
  std::string device = "auto";
  std::string dtype = "f32";
  int64_t workers = 1;
  int64_t loaders = 1;
  std::string profile;
  int64_t log_every = 20;
  int64_t save_every = 500;
  int64_t validate_every = 1000;
  int64_t validation_crop = 256;
  std::vector<double> validation_sigma_s = {0.05, 0.1, 0.3};
  int64_t validation_steps = 4;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("task", o.task, "What is trained: the degradation remover, the flow, compact-iqa, or a fusion for FLUX",
          OneOf{{"dr", "flow", "iqa", "flux-lora"}});
    visit("output", o.output, "Folder of the run: checkpoint, weights, log, events, sample grids");
    visit("data", o.data,
          "Training images: shards made by `resflow pack`, folders of pictures, tar shards or lists (.jsonl); for FLUX, shards of latents");
    visit("validation", o.validation, "Images that are not trained on: a shard or a folder");
    visit("remover", o.remover, "Weights of the trained remover (tasks flow and iqa)");
    visit("flow", o.flow, "Weights of the trained flow (task iqa)");
    visit("init_from", o.init_from, "Weights to start from, with a fresh optimiser");
    visit("feature_network", o.feature_network, "Frozen network of the feature loss");
    visit("validation_network", o.validation_network, "Network of the validation's feature distance; another than the loss's");
    visit("model", o.model, "Shape of the compact model");
    visit("flux", o.flux, "Training for FLUX");
    visit("fusion", o.fusion, "Fusion of a condition image with FLUX");
    visit("ranks", o.ranks, "Training in several processes, under torchrun");
    visit("steps", o.steps, "Optimiser steps", Range{1, 1e9});
    visit("minutes", o.minutes, "Time in which the training ends, its learning rate with it, if `steps` do not end it before; 0 = no limit",
          Range{0, 1e6});
    visit("batch", o.batch, "Crops, or pictures of FLUX, at a time; of all ranks together", Range{1, 65536});
    visit("reuse", o.reuse, "Steps that a sample serves, turned anew, where a teacher makes it dear: batch / reuse new ones a step", Range{1, 64});
    visit("crop", o.crop, "Side of a crop in pixels, a multiple of 16", Range{16, 4096});
    visit("learning_rate", o.learning_rate, "Peak learning rate (AdamW)", Range{0, 1});
    visit("final_learning_rate", o.final_learning_rate, "Learning rate at the end of the cosine", Range{0, 1});
    visit("warmup", o.warmup, "Steps of linear warm-up", Range{0, 1e9});
    visit("weight_decay", o.weight_decay, "Decoupled weight decay", Range{0, 1});
    visit("beta2", o.beta2, "AdamW's second beta (the first is 0.9)", Range{0, 1});
    visit("clip_norm", o.clip_norm, "Largest norm of the gradient; 0 = no limit", Range{0, 1e9});
    visit("ema", o.ema, "Decay of the weights' moving average", Range{0, 1});
    visit("pixel_loss", o.pixel_loss, "The remover's loss: l1, or l2 to finish with", OneOf{{"l1", "l2"}});
    visit("feature_weight", o.feature_weight, "Weight of the feature loss", Range{0, 1e4});
    visit("feature_window", o.feature_window, "Side of the part of a crop that the feature loss sees, elsewhere each time; 0 = nearly all of it",
          Range{0, 4096});
    visit("feature_sigma_s", o.feature_sigma_s, "The feature loss fades as feature_sigma_s / (t sigma_s) above this, and ends at twice this",
          Range{1e-3, 10});
    visit("adversarial_weight", o.adversarial_weight,
          "Weight of what an adversary says of one-step results, beside a feature loss; it is trained along", Range{0, 1e4});
    visit("lattice_weight", o.lattice_weight, "Weight of the loss on what repeats at the same places of every 16 px (task flow)", Range{0, 1e6});
    visit("noiseless", o.noiseless, "Of the samples that are neither faithful nor chosen, the share at t = 1, where sampling starts", Range{0, 1});
    visit("faithful", o.faithful, "Share of samples at t = 1 with the smallest start noise: what one step is asked for", Range{0, 1});
    visit("chosen", o.chosen, "Share of samples whose start noise is the best of `choices`: siblings learn to differ", Range{0, 1});
    visit("choices", o.choices, "Start noises tried for such a sample", Range{1, 64});
    visit("word_dropout", o.word_dropout,
          "With model.words: how often a picture's words are left unsaid, all of them, and of the others each by itself", Range{0, 1});
    visit("sigma_s_low", o.sigma_s_low, "Smallest start noise", Range{1e-3, 10});
    visit("sigma_s_high", o.sigma_s_high, "Largest start noise (drawn log-uniformly)", Range{1e-3, 10});
    visit("recipes", o.recipes, "Degradation recipes");
    visit("recipe_weights", o.recipe_weights, "How often each recipe is drawn");
    visit("scales", o.scales, "Scale factors");
    visit("scale_weights", o.scale_weights, "How often each scale is drawn");
    visit("teacher", o.teacher,
          "Weights of a Real-ESRGAN network, as `resflow restore --dr-file` takes them, whose pictures are learnt where its scale is drawn");
    visit("taught_share", o.taught_share, "Share of the teacher's picture in the pixels that are learnt; the rest is the clean picture", Range{0, 1});
    visit("teacher_reference", o.teacher_reference,
          "Share of the samples with a teacher's picture that start from it, mixed with the remover's: a flow for `--dr-file`", Range{0, 1});
    visit("taught_features", o.taught_features, "Share of the teacher's picture in the feature loss; the rest is the clean picture", Range{0, 1});
    visit("seed", o.seed, "Seed of everything random", Range{0, 9e15});
    visit("device", o.device, "auto, cpu, cuda or cuda:N");
    visit("dtype", o.dtype, "Number type of the forward pass: f32, or bf16 under autocast; of FLUX: of its frozen weights",
          OneOf{{"auto", "f32", "bf16"}});
    visit("workers", o.workers, "CPU threads that share a batch, one part each; of FLUX: that share each operation", Range{1, 256});
    visit("loaders", o.loaders, "Threads that crop and degrade", Range{1, 256});
    visit("profile", o.profile, "Also write what four steps spend their time on into this Chrome trace (.json)");
    visit("log_every", o.log_every, "Steps between log lines", Range{1, 1e9});
    visit("save_every", o.save_every, "Steps between checkpoints", Range{1, 1e9});
    visit("validate_every", o.validate_every, "Steps between validations; 0 = only at the end", Range{0, 1e9});
    visit("validation_crop", o.validation_crop, "Side of the validation's centre crops", Range{64, 4096});
    visit("validation_sigma_s", o.validation_sigma_s, "Start noises to validate the flow at");
    visit("validation_steps", o.validation_steps, "Sampler steps of the flow's validation", Range{1, 1000});
  }
};

}  // namespace resflow::train
