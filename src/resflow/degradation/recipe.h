// The parameters of a second-order degradation (Real-ESRGAN, Wang et al. 2021): what may happen to a picture, and how often.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "resflow/core/fields.h"

namespace resflow::degradation {

// A value is drawn uniformly from [low, high].
struct Interval {
  double low = 0, high = 0;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("low", o.low, "Least value", Range{});
    visit("high", o.high, "Greatest value", Range{});
  }
};

// One order: blur, resize, noise, JPEG. The defaults are what both published parameter sets share.
struct Order {
  double blur_probability = 1;
  double sinc_probability = .1;  // that a blur is a sinc low-pass (ringing) instead of one of the six kinds below
  double isotropic = .45, anisotropic = .25, generalised_isotropic = .12, generalised_anisotropic = .03, plateau_isotropic = .12,
         plateau_anisotropic = .03;
  Interval blur_sigma;                                      // pixels
  Interval generalised_beta{.5, 4}, plateau_beta{1, 2};     // exponents; half of the draws lie below 1
  double resize_up = .3, resize_down = .4;                  // probabilities; otherwise the size is kept
  Interval resize_range;                                    // up: [1, high], down: [low, 1]
  double gaussian_probability = .5, grey_probability = .4;  // otherwise Poisson; grey: the same noise in all three channels
  Interval gaussian_sigma;                                  // of 255
  Interval poisson_scale;                                   // 1 = the shot noise of about 256 photons at white
  Interval jpeg_quality;                                    // libjpeg's 1..100

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("blur_probability", o.blur_probability, "Probability of a blur", Range{0, 1});
    visit("sinc_probability", o.sinc_probability, "Probability that a blur is a sinc filter", Range{0, 1});
    visit("isotropic", o.isotropic, "Weight of isotropic Gaussians", Range{0});
    visit("anisotropic", o.anisotropic, "Weight of anisotropic Gaussians", Range{0});
    visit("generalised_isotropic", o.generalised_isotropic, "Weight of isotropic generalised Gaussians", Range{0});
    visit("generalised_anisotropic", o.generalised_anisotropic, "Weight of anisotropic generalised Gaussians", Range{0});
    visit("plateau_isotropic", o.plateau_isotropic, "Weight of isotropic plateau kernels", Range{0});
    visit("plateau_anisotropic", o.plateau_anisotropic, "Weight of anisotropic plateau kernels", Range{0});
    visit("blur_sigma", o.blur_sigma, "Standard deviation of the blur in pixels");
    visit("generalised_beta", o.generalised_beta, "Exponent of generalised Gaussians");
    visit("plateau_beta", o.plateau_beta, "Exponent of plateau kernels");
    visit("resize_up", o.resize_up, "Probability of a magnification", Range{0, 1});
    visit("resize_down", o.resize_down, "Probability of a reduction", Range{0, 1});
    visit("resize_range", o.resize_range, "Factors of the random resize");
    visit("gaussian_probability", o.gaussian_probability, "Probability of Gaussian noise; otherwise Poisson", Range{0, 1});
    visit("grey_probability", o.grey_probability, "Probability that the noise is grey", Range{0, 1});
    visit("gaussian_sigma", o.gaussian_sigma, "Standard deviation of Gaussian noise, of 255");
    visit("poisson_scale", o.poisson_scale, "Strength of Poisson noise");
    visit("jpeg_quality", o.jpeg_quality, "JPEG quality");
  }
};

struct Recipe {
  Order first, second;
  double final_sinc_probability = .8;
  double jpeg_last_probability = .5;  // resize, sinc, JPEG; otherwise JPEG, resize, sinc

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("first", o.first, "First order: blur, resize, noise, JPEG");
    visit("second", o.second, "Second order: the same again");
    visit("final_sinc_probability", o.final_sinc_probability, "Probability of a sinc filter at the end", Range{0, 1});
    visit("jpeg_last_probability", o.jpeg_last_probability, "Probability that JPEG comes after the final resize", Range{0, 1});
  }
};

// Throws UserError where a value is out of its range or an interval is upside down.
void check_recipe(const Recipe& recipe);

struct NamedRecipe {
  std::string name, help;
  Recipe recipe;
};
// Every entry of list.inc.
const std::vector<NamedRecipe>& recipes();
std::vector<std::string> recipe_names();
// Throws UserError with the names that exist.
const Recipe& recipe(std::string_view name);

}  // namespace resflow::degradation
