# segexport_json: nlohmann-json's headers. The system's if it has them (Debian: nlohmann-json3-dev), or a folder named by
# -DSEGEXPORT_JSON_INCLUDE=..., or else fetched.
add_library(segexport_json INTERFACE)
find_package(nlohmann_json 3.10 CONFIG QUIET)
find_path(SEGEXPORT_JSON_INCLUDE nlohmann/json.hpp DOC "Folder with nlohmann/json.hpp")
if(nlohmann_json_FOUND)
    target_link_libraries(segexport_json INTERFACE nlohmann_json::nlohmann_json)
elseif(SEGEXPORT_JSON_INCLUDE)
    target_include_directories(segexport_json SYSTEM INTERFACE ${SEGEXPORT_JSON_INCLUDE})
else()
    include(FetchContent)
    FetchContent_Declare(json
        URL https://github.com/nlohmann/json/releases/download/v3.12.0/json.tar.xz
        URL_HASH SHA256=42f6e95cad6ec532fd372391373363b62a14af6d771056dbfc86160e6dfff7aa)
    FetchContent_MakeAvailable(json)
    target_link_libraries(segexport_json INTERFACE nlohmann_json::nlohmann_json)
endif()
