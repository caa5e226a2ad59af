// The errors segexport throws: the same tree, and the same wording, as segexport/errors.py.
//
//   SegexportError
//     ContractError        an image, a mask or a bundle's contract that cannot be served
//     EngineUnavailable    the engine is not compiled in, or its device is missing: names the remedy
//     EngineMismatch       an engine that was built for another GPU, system or version: names both sides
//     DataError            a file that is no image (examples)
//     BundleCorrupt        a bundle that is not what was built: names the file
//
// An error's text is one line: what is wrong, then the remedy.

#ifndef SEGEXPORT_ERRORS_HPP
#define SEGEXPORT_ERRORS_HPP

#include <stdexcept>

namespace segexport {

class SegexportError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

class ContractError : public SegexportError {
    using SegexportError::SegexportError;
};

class EngineUnavailable : public SegexportError {
    using SegexportError::SegexportError;
};

class EngineMismatch : public SegexportError {
    using SegexportError::SegexportError;
};

class DataError : public SegexportError {
    using SegexportError::SegexportError;
};

class BundleCorrupt : public SegexportError {
    using SegexportError::SegexportError;
};

}  // namespace segexport

#endif  // SEGEXPORT_ERRORS_HPP
