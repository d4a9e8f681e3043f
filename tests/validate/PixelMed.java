// Checks many SRs in one Java: making its rules ready takes it seconds, checking a file a moment.
import com.pixelmed.validate.DicomSRValidator;

class PixelMed {
    public static void main(String[] files) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String file : files) {
            System.out.println("File: " + file);
            // Not described; checked are the case of meanings, the order of items and the names of templates. The
            // last is not to be had from its own main: there -checktemplateid sets the order of items.
            System.out.println(validator.validate(file, false, true, false, true, true));
        }
    }
}
