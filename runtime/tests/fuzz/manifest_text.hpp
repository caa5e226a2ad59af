// A manifest of the newest schema, with a TensorRT plan: what tests change and fuzzing starts from.

#ifndef SEGEXPORT_TESTS_FUZZ_MANIFEST_TEXT_HPP
#define SEGEXPORT_TESTS_FUZZ_MANIFEST_TEXT_HPP

constexpr auto kManifestText = R"json({
  "schema": 4, "segexport": "0.1.0",
  "source": {"id": "nvidia/mit-b0", "revision": null, "weights_sha256": "00", "random_weights": false},
  "precision": "fp16",
  "contract": {"size": [512, 1024], "batch": 1, "channel_order": "rgb", "output": "mask", "mask_size": [1080, 1920],
               "topk": 5, "source_size": [1080, 1920], "resize_mode": "letterbox",
               "grid": {"patch": 3, "stride": 2}},
  "preprocessing": {"do_rescale": true, "rescale_factor": 0.00392156862745098, "do_normalize": true,
                    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "do_resize": true,
                    "size": [512, 512], "resample": 3, "found_in": "preprocessor_config.json"},
  "labels": {"names": ["road", "Stra\u00dfe", "sky"], "palette": [[128, 64, 128], [0, 255, 7], [70, 130, 180]],
             "reduce": true},
  "engine": {"name": "tensorrt", "version": "10.13.3.9", "device": "cuda:0", "machine": "Orin (nvgpu)",
             "class_map": "device",
             "rewrites": [{"name": "merge-qkv", "claim": "algebraic", "rewritten": ["a/MatMul"],
                           "declined": [{"node": "b", "reason": "too small"}]}],
             "int8": [], "derived": true,
             "plan": {"targets": ["sm87"], "compute_capability": "8.7", "gpu": "Orin (nvgpu)",
                      "system": "Linux aarch64", "profiles": ["1x1080x1920"],
                      "options": {"version_compatible": true, "hardware_compatibility": "ampere-plus", "dla": 1},
                      "onnx_sha256": "00"}},
  "rewrites": [], "golden": {"seed": 210515203, "agreement_with_reference": 0.9987, "engine_ran": true},
  "versions": {"python": "3.11.7"}, "notes": [],
  "lowering": {"images": "64 images", "images_sha256": "00", "fp32": [], "int8": []}
})json";

#endif  // SEGEXPORT_TESTS_FUZZ_MANIFEST_TEXT_HPP
