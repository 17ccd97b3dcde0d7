/// What the help says of the model that comes with the program: the words of its prompts, as its card has them.
enum DemoWords {
    static let help = """
        The demo model knows prompts like "a purple butterfly above a cactus in the desert at sunset", made of these words \
        and no others.

        Places: in a green meadow, on the green hills, in the desert, on the sand dunes, on the beach, by \
        the sea, on the sea, on the waves, in the snow, in a snowy land, in the forest, among the pine \
        trees, in the mountains, below the snowy peaks, in the city, in front of the skyline, in space, \
        among the planets, under water, at the bottom of the sea, in a room, on a wooden floor, on a COLOUR \
        background
        Times of day: by day, on a sunny day, under a blue sky, at sunset, in the evening light, at night, \
        under the stars
        Weather: in the rain, while snow falls, under a rainbow
        Objects: car, rocket, dog, cat, house, sailboat, elephant, butterfly, apple, balloon, fish, whale, \
        castle, snowman, helicopter, tractor, penguin, turtle, mushroom, cactus, robot, duck, pumpkin, \
        umbrella
        Shapes: circle, square, triangle, star
        Colours: red, orange, yellow, green, blue, purple, pink, white, black
        Sizes: tiny, huge
        Relations: A and B, A to the left of B, A to the right of B, A on the left and B on the right, A \
        above B, A below B, A on the left, A on the right
        """
}
