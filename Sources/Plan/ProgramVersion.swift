/// Version of the program: workers tell it, and pictures name it.
package let programVersion = "0.1.0"
