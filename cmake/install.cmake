# `cmake --install build [--prefix P]`: the program, what it reads (weights, the web page), its manual page and completions. libtorch stays where it is.
include(GNUInstallDirs)
install(TARGETS resflow RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY weights web DESTINATION ${CMAKE_INSTALL_DATADIR}/resflow)
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Written by the program that is installed.
set(pages ${CMAKE_BINARY_DIR}/pages)
install(CODE "
  file(MAKE_DIRECTORY \"${pages}\")
  foreach(page \"--man;resflow.1\" \"--completion;bash;resflow\" \"--completion;zsh;_resflow\" \"--completion;fish;resflow.fish\")
    list(POP_BACK page file)
    execute_process(COMMAND \"$<TARGET_FILE:resflow>\" docs \${page} OUTPUT_FILE \"${pages}/\${file}\" COMMAND_ERROR_IS_FATAL ANY)
  endforeach()")
install(FILES ${pages}/resflow.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${pages}/resflow DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${pages}/_resflow DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${pages}/resflow.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
